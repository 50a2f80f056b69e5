"""The operations of `/api/v1`, a module for each group. `app` comes here for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from runlink.http.api import deliveries, executions, following, inbox, runs, system, work
from runlink.http.operations import Operation

OPERATIONS: Sequence[Operation] = (
    *work.OPERATIONS,
    *runs.OPERATIONS,
    *executions.OPERATIONS,
    *following.OPERATIONS,
    *inbox.OPERATIONS,
    *deliveries.OPERATIONS,
    *system.OPERATIONS,
)
