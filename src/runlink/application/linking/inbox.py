"""What belongs together and is not linked: instances without a Run, Runs without an instance, with suggestions.

`runlink inbox` comes here, and whoever shows it elsewhere; `runlink link` comes for the rule of a link made by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from runlink.application.linking.claims import claims_of
from runlink.application.linking.suggest import Candidate, places, rule_for, score
from runlink.application.ports import UnitOfWork
from runlink.application.rules.rules import Asked, Rules

SUGGESTIONS: Final = 3
LEAST_SCORE: Final = 15
"""What is nearer by chance than that is not suggested."""
_CANDIDATES: Final = 500
_BEFORE, _AFTER = timedelta(days=2), timedelta(days=1)


def inbox(
    uow: UnitOfWork,
    rules: Rules,
    *,
    engine: str | None = None,
    automation: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
) -> dict[str, list[dict[str, Any]]]:
    """`instances` without a Run and `runs` without an instance: a page of each."""
    chosen: dict[str, Any] = {"engine": engine, "automation": automation, "since": since, "limit": limit}
    return {
        "instances": instances_without_run(uow, rules, **chosen),
        "runs": runs_without_instance(uow, rules, **chosen),
    }


def instances_without_run(
    uow: UnitOfWork,
    rules: Rules,
    *,
    engine: str | None = None,
    automation: str | None = None,
    since: datetime | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """Instances that count for no Run, newest first, each with `suggestions` (of Runs of an automation), best first.

    A suggestion has `score` (0 to 100), `reasons` (sentences), and of the Run `run_id`, `correlation_id`, `automation`,
    `status`. What a hand took apart is not suggested again. `waits_for` are keys that no Run has: each `rule`,
    `automation`, `correlation_id`.
    """
    rows: list[dict[str, Any]] = uow.reports.instances(
        engine=engine, linked=False, since=since, before=before, limit=limit
    )
    for row in rows:
        row["suggestions"] = []
    if rows:
        _suggest_runs(uow, rules, rows, automation)
        _tell_waiting(uow, rules, rows, automation)
    return rows


def runs_without_instance(
    uow: UnitOfWork,
    rules: Rules,
    *,
    engine: str | None = None,
    automation: str | None = None,
    since: datetime | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """Runs for which nothing counts, newest first, each with `suggestions` (of instances of an engine), best first.

    A suggestion has `score`, `reasons`, and of the instance `instance_id`, `engine`, `workflow`, `external_id`,
    `status`.
    """
    rows: list[dict[str, Any]] = uow.reports.runs(
        automation=automation, linked=False, since=since, before=before, limit=limit
    )
    for row in rows:
        row["suggestions"] = []
    if rows:
        _suggest_instances(uow, rules, rows, engine)
    return rows


def rule_of_file(uow: UnitOfWork, rules: Rules, run_id: UUID, instance_id: UUID) -> str | None:
    """The name of the rule in force that finds this Run by a key; None when none does."""
    run, tracked = uow.runs.get(run_id), uow.ledger.tracked([instance_id]).get(instance_id)
    if run is None or tracked is None:
        return None
    instance = tracked.instance
    asked = Asked(instance, uow.ledger.engines([instance.engine_id])[instance.engine_id])
    for claim in claims_of(rules, [asked]).keys:
        if claim.automation_id == run.automation_id and not {str(run.id), run.correlation_id}.isdisjoint(claim.keys):
            return claim.ready.rule.name
    return None


def made_by(uow: UnitOfWork, rules: Rules, run_id: UUID, instance_id: UUID) -> str | None:
    """The rule, as TOML, that would have linked these two; None when nothing in the instance leads to the Run."""
    (instance,) = uow.reports.instances(instance_id=instance_id, limit=1)
    (row,) = uow.reports.runs(run_id=run_id, limit=1)
    parent_linked = False
    if instance["parent_external_id"]:
        parents = uow.reports.instances(
            external_id=instance["parent_external_id"], engine=instance["engine"], run_id=run_id, limit=1
        )
        parent_linked = bool(parents)
    return rule_for(instance, _candidate(row, ()), rules.rules, parent_linked=parent_linked)


def _suggest_runs(uow: UnitOfWork, rules: Rules, rows: Sequence[dict[str, Any]], automation: str | None) -> None:
    values = {row["id"]: places(row) for row in rows}
    near: list[dict[str, Any]] = uow.reports.candidate_runs(
        keys=list({value for found in values.values() for value in found.values()}),
        **_window(_began(row) for row in rows),
        automation=automation,
        limit=_CANDIDATES,
    )
    candidates = _candidates(uow, near)
    apart = _apart(uow, list(values))
    for row in rows:
        found = []
        for run in candidates:
            if (row["id"], run.id) not in apart:
                judged = score(row, values[row["id"]], run, rules.rules)
                about = {"run_id": run.id, "correlation_id": run.correlation_id, "automation": run.automation}
                found.append({"score": judged.score, "reasons": list(judged.reasons), **about, "status": run.status})
        row["suggestions"] = _best(found)


def _tell_waiting(uow: UnitOfWork, rules: Rules, rows: Sequence[dict[str, Any]], automation: str | None) -> None:
    waiting: dict[UUID, list[dict[str, Any]]] = {row["id"]: [] for row in rows}
    for one in uow.reports.waiting_keys(list(waiting), automation=automation):
        if one["rule"] in rules.by_name:  # nobody looks for what a rule found that has left the file
            about = {"rule": one["rule"], "automation": one["automation"], "correlation_id": one["key"]}
            waiting[one["instance_id"]].append(about)
    for row in rows:
        row["waits_for"] = waiting[row["id"]]


def _suggest_instances(uow: UnitOfWork, rules: Rules, rows: Sequence[dict[str, Any]], engine: str | None) -> None:
    near: list[dict[str, Any]] = uow.reports.candidate_instances(
        **_window(row["created_at"] for row in rows), engine=engine, limit=_CANDIDATES
    )
    values = {one["id"]: places(one) for one in near}
    apart = _apart(uow, list(values))
    for row in rows:
        run, found = _candidate(row, ()), []
        for one in near:
            if (one["id"], run.id) not in apart:
                judged = score(one, values[one["id"]], run, rules.rules)
                about = {name: one[name] for name in ("engine", "workflow", "external_id", "status")}
                found.append(
                    {"score": judged.score, "reasons": list(judged.reasons), "instance_id": one["id"], **about}
                )
        row["suggestions"] = _best(found)


def _best(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    good = [one for one in found if one["score"] >= LEAST_SCORE]
    return sorted(good, key=lambda one: -one["score"])[:SUGGESTIONS]


def _candidates(uow: UnitOfWork, rows: Sequence[Mapping[str, Any]]) -> list[Candidate]:
    siblings: dict[UUID, list[Mapping[str, str]]] = {}
    for one in uow.reports.linked_instances([row["id"] for row in rows], limit=_CANDIDATES):
        siblings.setdefault(one["run_id"], []).append(places(one))
    return [_candidate(row, siblings.get(row["id"], ())) for row in rows]


def _candidate(row: Mapping[str, Any], siblings: Sequence[Mapping[str, str]]) -> Candidate:
    names = ("id", "automation", "correlation_id", "status", "created_at")
    return Candidate(**{name: row[name] for name in names}, siblings=siblings)


def _apart(uow: UnitOfWork, instance_ids: Sequence[UUID]) -> set[tuple[UUID, UUID]]:
    """Pairs that somebody decided on by hand."""
    links = uow.ledger.links_of(instance_ids)
    return {(one, link.run_id) for one, mine in links.items() for link in mine if link.pinned}


def _began(row: Mapping[str, Any]) -> datetime | None:
    """As told, else when it was last seen."""
    began: datetime | None = row["queued_at"] or row["started_at"] or row["observed_at"]
    return began


def _window(times: Iterable[datetime | None]) -> dict[str, Any]:
    known = sorted(at for at in times if at is not None)
    if not known:
        return {"begin": None, "end": None}
    return {"begin": known[0] - _BEFORE, "end": known[-1] + _AFTER}
