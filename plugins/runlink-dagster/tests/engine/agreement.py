"""Whether Dagster's own account and runlink's tables say the same, run by run, try by try.

The expectations are written out here, not taken from the plugin that is being judged.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import yaml
from dagster_engine import LOCATION, Account

from runlink.bootstrap import Runlink

STATUS = {
    **dict.fromkeys(("QUEUED", "NOT_STARTED", "STARTING"), "PENDING"),
    **dict.fromkeys(("STARTED", "CANCELING"), "PROCESSING"),
    "SUCCESS": "COMPLETED",
    "FAILURE": "FAILED",
    "CANCELED": "CANCELLED",
}
STEP_STATUS = {"SUCCESS": "COMPLETED", "FAILURE": "FAILED", "SKIPPED": "COMPLETED"}
Step = tuple[str, int, str, str, datetime | None, datetime | None]


def differences(accounts: Sequence[Account], runlink: Runlink, *, ignored: Iterable[str] = ()) -> list[str]:
    """Every point in which the two differ; empty when they agree. `ignored`: runs that Dagster was made to forget."""
    with runlink.store.reading() as uow:
        rows = {row["external_id"]: row for row in uow.reports.instances(limit=10_000)}
        ids = [row["id"] for row in rows.values()]
        attempts, steps = uow.reports.attempts(ids), uow.reports.steps(ids)
        runs = {row["id"]: row["correlation_id"] for row in uow.reports.runs(limit=10_000)}
    found = [
        f"runlink has {extra}, Dagster does not" for extra in rows.keys() - {a.id for a in accounts} - set(ignored)
    ]
    for account in accounts:
        row = rows.get(account.id)
        if row is None:
            found.append(f"Dagster has {account.id} ({account.job}), runlink does not")
            continue
        tries = [one["number"] for one in attempts if one["instance_id"] == row["id"]]
        told = [one for one in steps if one["instance_id"] == row["id"]]
        found += [f"{account.id} ({account.job}): {line}" for line in _compare(account, row, tries, told, runs)]
    return found


def _compare(
    account: Account,
    row: Mapping[str, Any],
    tries: Sequence[int],
    steps: Sequence[Mapping[str, Any]],
    runs: Mapping[Any, str],
) -> Iterator[str]:
    began = account.started_at if account.started_at != account.ended_at else None
    run_id = account.tags.get("run_id")
    pairs = {
        "workflow": (f"{LOCATION}/{account.job}", row["workflow"]),
        "status": (STATUS[account.status], row["status"]),
        "native status": (account.status, row["native_status"]),
        "tries": ([1], list(tries)),
        "parent": (account.parent, row["parent_external_id"]),
        "tags": (dict(account.tags), row["labels"]),
        "configuration": (yaml.safe_load(account.config), row["parameters"]),
        "created": (_time(account.created_at), row["queued_at"]),
        "started": (_time(began), row["started_at"]),
        "ended": (_time(account.ended_at), row["finished_at"]),
        "vanished": (None, row["vanished_at"]),
        "steps": (sorted(_theirs(account, began), key=str), sorted(map(_ours, steps), key=str)),
        "Runs": ([run_id] if run_id else [], [runs[one] for one in row["runs"]]),
    }
    for what, (theirs, ours) in pairs.items():
        if theirs != ours:
            yield f"{what}: Dagster says {theirs!r}, runlink {ours!r}"


def _theirs(account: Account, began: float | None) -> Iterator[Step]:
    """All tries but the last were up for retry; one that the event log says was interrupted was cancelled."""
    interrupted = {event.step for event in account.events if event.error == "DagsterExecutionInterruptedError"}
    over = STATUS[account.status] in ("COMPLETED", "FAILED", "CANCELLED")
    for stats in account.steps if began is not None else ():
        key, native, ended = stats["stepKey"], stats["status"], stats["attempts"]
        done = native in STEP_STATUS
        for number, each in enumerate(ended, 1):
            status, word = ("FAILED", "UP_FOR_RETRY")
            if done and number == len(ended):
                status, word = ("CANCELLED" if key in interrupted else STEP_STATUS[native]), native
            yield key, number, status, word, _time(each["startTime"]), _time(each["endTime"])
        if not done:
            status = "CANCELLED" if over else ("PROCESSING" if native else "PENDING")
            start = _time(stats["startTime"]) if not ended else None
            yield key, len(ended) + 1, status, native or "STARTING", start, None


def _ours(step: Mapping[str, Any]) -> Step:
    return (
        step["external_id"],
        step["attempt"],
        step["status"],
        step["native_status"],
        step["started_at"],
        step["finished_at"],
    )


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def lags(accounts: Iterable[Account], runlink: Runlink) -> list[float]:
    """Seconds from each event that changed a run to the commit of the row that first said so.

    Events that no row told apart (a run shorter than the poll) are not in it.
    """
    words = {"RUN_START": "STARTED", "RUN_SUCCESS": "SUCCESS", "RUN_FAILURE": "FAILURE", "RUN_CANCELED": "CANCELED"}
    with runlink.store.reading() as uow:
        ids = {row["external_id"]: row["id"] for row in uow.reports.instances(limit=10_000)}
        lines = uow.reports.observations(list(ids.values()))
    first: dict[tuple[Any, str], datetime] = {}
    for line in lines:
        first.setdefault((line["instance_id"], line["native_status"]), line["recorded_at"])
    found = []
    for account in accounts:
        for event in account.events:
            row = first.get((ids.get(account.id), words.get(event.type, "")))
            if row is not None:
                found.append(row.timestamp() - event.at)
    return found
