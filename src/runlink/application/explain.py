"""Why a Run is in the state it is in: its links and the rules that made them, its instances, what was observed when."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from runlink.application.conclude import conclude
from runlink.application.errors import Missing
from runlink.application.ports import UnitOfWork
from runlink.application.rules import Rules

MAX_INSTANCES = 1000


def explain(uow: UnitOfWork, rules: Rules, run_id: UUID) -> dict[str, Any]:
    """The evidence for one Run, as JSON-able data but for times and ids.

    Keys: the Run's fields; `automation`; `policy`; `waiting` (why it has not completed yet, or None); `instances`, each
    with `link` (rule, attached_at), `attempts`, `steps` and `observations` (what changed, when the read began, by which
    feed); `events`, oldest first; `doubts`, sentences about what is not known. Raises Missing.
    """
    run = uow.runs.get(run_id)
    if run is None:
        raise Missing(f"no run has the id {run_id}; see `runlink runs list`")
    automation = uow.automations.get(run.automation_id)
    policy = rules.policy(run.automation_id)
    conclusion = conclude(uow.ledger.linked([run_id]), policy, quiet_over=False)
    return {
        "id": run.id,
        "automation": automation.name if automation is not None else None,
        "correlation_id": run.correlation_id,
        "status": run.status.value,
        "attempt": run.attempt,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "error_summary": run.error_summary,
        "cancellation_reason": run.cancellation_reason,
        "policy": {"expected": list(policy.expected), "quiet_s": policy.quiet_s},
        "waiting": conclusion.waiting if conclusion is not None and not run.status.is_ended else None,
        "instances": (instances := _instances(uow, run_id)),
        "events": uow.reports.events(run_id=run_id),
        "doubts": _doubts(instances),
    }


def _instances(uow: UnitOfWork, run_id: UUID) -> list[dict[str, Any]]:
    rows = uow.reports.instances(run_id=run_id, limit=MAX_INSTANCES)
    rows.sort(key=lambda row: (str(row["queued_at"] or row["started_at"] or ""), str(row["id"])))
    ids = [row["id"] for row in rows]
    links = {link["orchestration_instance_id"]: link for link in uow.reports.links(run_id=run_id)}
    details = {
        "attempts": _grouped(uow.reports.attempts(ids)),
        "steps": _grouped(uow.reports.steps(ids)),
        "observations": _grouped(uow.reports.observations(ids)),
    }
    for row in rows:
        link = links[row["id"]]
        row["link"] = {name: link[name] for name in ("rule", "attached_at", "created_by")}
        for name, found in details.items():
            row[name] = found.get(row["id"], [])
    return rows


def _grouped(rows: list[dict[str, Any]]) -> dict[UUID, list[dict[str, Any]]]:
    """By instance, without what only the store needs."""
    found: dict[UUID, list[dict[str, Any]]] = {}
    for row in rows:
        row.pop("id", None)
        found.setdefault(row.pop("instance_id"), []).append(row)
    return found


def _doubts(instances: list[dict[str, Any]]) -> list[str]:
    doubts = [
        f"{row['engine']} {row['external_id']} vanished at {row['vanished_at']:%Y-%m-%d %H:%M:%S}: the engine no "
        f"longer has it; it was last seen {row['native_status']}, and nobody knows how it ended"
        for row in instances
        if row["vanished_at"] is not None
    ]
    if len(instances) == MAX_INSTANCES:
        doubts.append(f"only the latest {MAX_INSTANCES} instances are shown")
    return doubts
