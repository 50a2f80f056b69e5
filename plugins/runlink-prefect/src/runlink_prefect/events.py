"""What an event says: which flow run to look at again. Polling and watching come here.

An event is never taken for the state: it may come late, twice, or not at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from runlink_prefect.translate import is_flow_run_id
from runlink_prefect.tries import TERMINAL, time_of

_RESOURCE: Final = "prefect.flow-run."


@dataclass(frozen=True, slots=True)
class Event:
    """A change of state of one flow run. `id` is the id of the new state; `leaves_an_end`: the old one was terminal."""

    id: str
    occurred: datetime
    run: str
    leaves_an_end: bool


def read_event(raw: Any) -> Event:
    """Raises KeyError, TypeError, ValueError or AttributeError for what is no event of a flow run."""
    resource = raw["resource"]["prefect.resource.id"]
    run = resource.removeprefix(_RESOURCE)
    occurred = time_of(raw["occurred"])
    if not is_flow_run_id(run) or occurred is None:
        raise ValueError(f"{resource!r} is no flow run, or it occurred at no time")
    before: Mapping[str, Any] = (raw.get("payload") or {}).get("initial_state") or {}
    return Event(str(raw["id"]), occurred, run, before.get("type") in TERMINAL)
