"""Which failed runs did not fail but were ended by hand. `details` comes here.

Airflow has no word for a cancelled run: cancelling sets its state to `failed` (recording 091). Its audit log tells who
did so, and when. Where we may not read it, a note that begins with "cancelled" counts: whoever cancels may leave one.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from runlink.spi import Context
from runlink_airflow.rest import PAGE_ROWS, NotPermitted, Rest, Row
from runlink_airflow.translate import time

EVENTS: Final = ("patch_dag_run", "bulk_dag_runs")
"""The audit log's names for setting the state of one run, and of several (the web interface's selection)."""

_BEFORE_END: Final = timedelta(minutes=5)
"""The audit line is written first; the run ends when its running tasks were told to stop."""
_AFTER_END: Final = timedelta(seconds=2)
_MOST_PAGES: Final = 50
_ASK_AGAIN: Final = timedelta(hours=1)
_NOTE: Final = re.compile(r"\s*cancell?ed\b", re.IGNORECASE)
_KEPT: Final = 5_000


class _ByHand(NamedTuple):
    """Somebody set the state of a run to failed."""

    dag_id: str
    dag_run_id: str
    when: datetime
    owner: str


class Endings:
    """Remembers its verdicts, so that each end is asked about once."""

    def __init__(self, context: Context, rest: Rest) -> None:
        self._context = context
        self._rest = rest
        self._verdicts: dict[tuple[str, str | None], str | None] = {}
        self._refused_at: datetime | None = None

    def cancelled(self, runs: Mapping[str, Row]) -> dict[str, str]:
        """External id -> by whom it was ended, in a sentence; of those that were. One request, if any end is new."""
        failed = {name: run for name, run in runs.items() if run["state"] == "failed" and run["end_date"]}
        new = {name: run for name, run in failed.items() if (name, run["end_date"]) not in self._verdicts}
        events = self._by_hand(new) if new else []
        for name, run in new.items():
            self._verdicts[name, run["end_date"]] = _from_note(run) if events is None else _from_events(run, events)
        told = {name: self._verdicts[name, run["end_date"]] for name, run in failed.items()}
        while len(self._verdicts) > _KEPT:
            del self._verdicts[next(iter(self._verdicts))]
        return {name: sentence for name, sentence in told.items() if sentence is not None}

    def _by_hand(self, runs: Mapping[str, Row]) -> list[_ByHand] | None:
        """What the audit log tells of the time round these ends; None where it may not be read."""
        now = self._context.now()
        if self._refused_at is not None and now - self._refused_at < _ASK_AGAIN:
            return None
        ends = [moment for run in runs.values() if (moment := time(run["end_date"]))]
        params = [("included_events", event) for event in EVENTS]
        params += [("after", (min(ends) - _BEFORE_END).isoformat()), ("before", (max(ends) + _AFTER_END).isoformat())]
        found: list[_ByHand] = []
        try:
            for page in range(_MOST_PAGES):
                bounds = [("order_by", "-id"), ("limit", str(PAGE_ROWS)), ("offset", str(page * PAGE_ROWS))]
                rows = self._rest.rows("eventLogs", "event_logs", [*params, *bounds])
                found += [each for row in rows for each in _said(row)]
                if len(rows) < PAGE_ROWS:
                    break
        except NotPermitted:
            if self._refused_at is None:
                self._context.log.warning(
                    "may not read Airflow's audit log: a cancelled run is told as failed unless its note begins with "
                    "'cancelled'"
                )
            self._refused_at = now
            return None
        return found


def _said(row: Row) -> Iterator[_ByHand]:
    """One line may tell of several runs; what it says about other states, or in another form, is passed over."""
    try:
        told: dict[str, Any] = json.loads(row["extra"] or "{}")
        when = time(row["when"])
        entities: list[dict[str, Any]] = [{**told, "dag_run_id": row["run_id"]}]
        for action in told.get("actions") or ():
            entities += [each for each in action["entities"] if isinstance(each, dict)]
        for each in entities:
            if each.get("state") == "failed" and each.get("dag_run_id") and when is not None:
                dag_id = each.get("dag_id") or row["dag_id"]
                yield _ByHand(str(dag_id), str(each["dag_run_id"]), when, str(row.get("owner") or "somebody"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return


def _from_events(run: Row, events: list[_ByHand]) -> str | None:
    ended, queued = time(run["end_date"]), time(run["queued_at"])
    for event in events:
        if ended is None or (event.dag_id, event.dag_run_id) != (run["dag_id"], run["dag_run_id"]):
            continue
        began = ended - _BEFORE_END if queued is None else max(ended - _BEFORE_END, queued)
        if began <= event.when <= ended + _AFTER_END:
            return f"set to failed by {event.owner}" + (f": {run['note']}" if run.get("note") else "")
    return None


def _from_note(run: Row) -> str | None:
    note = run.get("note") or ""
    return note if _NOTE.match(note) else None
