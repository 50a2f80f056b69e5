"""Every promise of the adapter interface, kept against a scripted Airflow."""

import sys
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).parent))

from scripted_airflow import PASSWORD, AirflowEngine

from runlink.testing import AdapterContract
from runlink_airflow import AirflowAdapter


class TestAirflow(AdapterContract):
    adapter = AirflowAdapter
    engine = AirflowEngine
    config: ClassVar = {"user": "runlink", "password": PASSWORD}
