"""Why a Run is in the state it is in: its links and the rules that made them, its instances, what was observed when.

The CLI and the REST API come here. `history` folds what was known at an earlier time, `timeline` draws up the bars.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from runlink.application.errors import Missing
from runlink.application.explaining import history
from runlink.application.explaining.timeline import timeline
from runlink.application.policy import Policy
from runlink.application.ports import UnitOfWork
from runlink.application.rollup.conclude import Conclusion, conclude
from runlink.application.rows import Linked
from runlink.application.rules.rules import Rules
from runlink.domain import ExecutionStatus

MAX_INSTANCES = 1000
MAX_EVENTS = 10_000
_SKEW_S = 5.0  # clocks that differ by more make the timeline doubtful

Row = dict[str, Any]
_RUN = ("id", "correlation_id", "attempt", "created_at", "started_at", "finished_at", "error_summary",
        "cancellation_reason", "silent_since", "updated_by")  # fmt: skip


def explain(
    uow: UnitOfWork, rules: Rules, run_id: UUID, *, now: datetime, as_of: datetime | None = None
) -> dict[str, Any]:
    """The evidence for one Run, as JSON-able data but for times and ids; with `as_of`, what was known then.

    Keys: the Run's fields; `automation`; `as_of`; `policy`; `waiting` (why it does not end yet, or None); `statuses`
    (each change of the Run with the observation that caused it, when the engine said it happened, when runlink learnt
    it and by which feed); `instances`, each with `link` (rule, key, pinned, attached_at, created_by), `attempts`,
    `steps` and `observations`; `items` (batch, status, count); `timeline` (bars); `events`; `doubts`, sentences about
    what is not known. Raises Missing; also for a Run that was made after `as_of`.
    """
    run = uow.runs.get(run_id)
    if run is None:
        raise Missing(f"no run has the id {run_id}; see `runlink runs list`")
    if as_of is not None and run.created_at > as_of:
        raise Missing(f"run {run_id} was made at {run.created_at:%Y-%m-%d %H:%M:%S}, after the time you ask for")
    automation = uow.automations.get(run.automation_id)
    policy = rules.policy(run.automation_id)
    events = uow.reports.events(run_id=run_id, until=as_of, limit=MAX_EVENTS)
    instances, observations = _instances(uow, run_id, events, as_of)
    statuses = history.statuses(events, observations)
    facts: Row = {name: getattr(run, name) for name in _RUN} | {"status": run.status.value}
    if as_of is not None:
        facts = history.run_then(facts, statuses)
    linked = uow.ledger.linked([run_id]) if as_of is None else [_linked(run_id, row) for row in instances]
    conclusion = conclude(linked, policy, quiet_over=False)
    ended = ExecutionStatus(facts["status"]).is_ended
    told = {
        **facts,
        "automation": automation.name if automation is not None else None,
        "as_of": as_of,
        "policy": {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(policy).items()},
        "waiting": conclusion.waiting if conclusion is not None and not ended else None,
        "statuses": statuses,
        "instances": instances,
        "items": uow.reports.item_counts(run_id, until=as_of),
        "events": sorted(events[-200:], key=lambda event: event["occurred_at"]),
    }
    told["timeline"] = timeline(told, now=as_of or now)
    told["doubts"] = [*_doubts(uow, told, as_of), *_differences(told, linked, conclusion, policy)]
    return told


def _instances(
    uow: UnitOfWork, run_id: UUID, events: Sequence[Row], as_of: datetime | None
) -> tuple[list[Row], Mapping[UUID, list[Row]]]:
    """The linked instances with all that is known of them, and the whole history of each."""
    rows = uow.reports.links(run_id=run_id)
    if as_of is None:
        links = {link["orchestration_instance_id"]: link for link in rows if link["is_active"]}
    else:
        links = history.links_then(rows, events, as_of)
    everyone = list({link["orchestration_instance_id"] for link in rows})  # a status may be due to one taken off since
    observations = _grouped(uow.reports.observations(everyone))
    found = uow.reports.instances(instance_ids=list(links), limit=MAX_INSTANCES)
    ids = [row["id"] for row in found]
    attempts, steps = _grouped(uow.reports.attempts(ids)), _grouped(uow.reports.steps(ids))
    instances = []
    for row in found:
        mine = observations.get(row["id"], [])
        known: Row | None = {**row, "attempts": attempts.get(row["id"], []), "observations": mine}
        known["steps"] = steps.get(row["id"], [])  # type: ignore[index]
        if as_of is not None and (known := history.instance_then(row, mine, as_of)) is not None:
            known["steps"], certain = history.steps_then(steps.get(row["id"], []), mine, as_of)
            known |= {"steps_certain": certain, "steps_state": row["steps_state"]}
        if known is not None:
            names = ("rule", "key", "pinned", "attached_at", "created_by")
            instances.append(known | {"link": {name: links[row["id"]][name] for name in names}})
    instances.sort(key=lambda row: (str(row["queued_at"] or row["started_at"] or ""), str(row["id"])))
    return instances, observations


def _grouped(rows: Sequence[Row]) -> dict[UUID, list[Row]]:
    """By instance, without what only the store needs."""
    found: dict[UUID, list[Row]] = {}
    for row in rows:
        row.pop("id", None)
        found.setdefault(row.pop("instance_id"), []).append(row)
    return found


def _linked(run_id: UUID, row: Row) -> Linked:
    """An instance as it was known, for `conclude`."""
    facts: Row = {name: row.get(name) for name in Linked._fields[2:-2]} | {"status": ExecutionStatus(row["status"])}
    return Linked(run_id=run_id, engine=row["engine"], instance_id=row["id"], **facts)


# --- what is not known ----------------------------------------------------------------------------------------------


def _doubts(uow: UnitOfWork, told: Row, as_of: datetime | None) -> Iterator[str]:
    instances = told["instances"]
    if len(instances) == MAX_INSTANCES:
        yield f"only the latest {MAX_INSTANCES} instances are shown"
    for row in instances:
        yield from _doubts_of_instance(row)
    by_engine: dict[str, list[str]] = {}
    for row in instances:
        by_engine.setdefault(row["engine"], []).append(row["external_id"])
    for engine, names in by_engine.items():
        for item in uow.reports.quarantine(engine=engine, external_ids=names):
            times = f" ({item['count']} times)" if item["count"] > 1 else ""
            yield f"something about {engine} {item['external_id']} was set aside{times}: {item['reason']}"
    if as_of is None:
        open_engines = {row["engine"] for row in instances if _is_open(row)}
        yield from _doubts_of_feeds(uow.reports.feeds(list(by_engine)), open_engines)


def _doubts_of_instance(row: Row) -> Iterator[str]:
    name = f"{row['engine']} {row['external_id']}"
    if row["vanished_at"] is not None:
        yield (
            f"{name} vanished at {row['vanished_at']:%Y-%m-%d %H:%M:%S}: the engine no longer has it; it was last seen "
            f"{row['native_status']}, and nobody knows how it ended"
        )
    if row.get("steps_state") == "unknown":
        yield f"{name} has steps that are not to be had (offloaded, or not permitted)"
    if not row.get("steps_certain", True):
        yield f"steps of {name} are shown by its engine's clock: many changed at once, and of these each is not kept"


def _doubts_of_feeds(feeds: Sequence[Row], open_engines: set[str]) -> Iterator[str]:
    for feed in feeds:
        if feed["engine"] in open_engines and feed["feed"] == "poll" and feed["state"] not in ("ok", "new"):
            last = feed["last_success_at"]
            since = f"since {last:%Y-%m-%d %H:%M:%S}" if last is not None else "yet"
            yield f"{feed['engine']} could not be read {since} ({feed['state']}: {feed['last_error']})"
        if feed["skew_s"] is not None and abs(feed["skew_s"]) > _SKEW_S:
            yield f"the clock of {feed['engine']} is {feed['skew_s']:+.0f} s off; its times are shown as it tells them"


def _is_open(row: Row) -> bool:
    return row["vanished_at"] is None and not ExecutionStatus(row["status"]).is_ended


def _differences(told: Row, linked: Sequence[Linked], conclusion: Conclusion | None, policy: Policy) -> Iterator[str]:
    """Where a Run stays ended though its instances say something else: by hand, or by its policy."""
    if conclusion is None or not ExecutionStatus(told["status"]).is_ended:
        return
    final = conclude(linked, policy, quiet_over=True) or conclusion
    if told["status"] in (conclusion.status, final.status):
        return
    if told["updated_by"] != "rule:roll-up":
        why = f"{told['updated_by']} ended it"
    else:
        why = 'on_reopen = "keep"' if policy.on_reopen == "keep" else "what has begun does not wait again"
    so = f" ({final.waiting})" if final.waiting else ""
    yield f"it stays {told['status']} ({why}), though by its instances and policy it would be {final.status}{so}"
