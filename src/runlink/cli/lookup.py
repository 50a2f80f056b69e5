"""What an operator names, found: by id, or by the name it has elsewhere. Nothing found is Missing, several a choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import typer

if TYPE_CHECKING:
    from runlink.domain import Automation
    from runlink.store import SqlUnitOfWork


def as_id(text: str | None) -> UUID | None:
    """The id in a text; None for anything else."""
    try:
        return UUID(text) if text is not None else None
    except ValueError:
        return None


def page_id(text: str | None) -> UUID | None:
    """The value of `--before`."""
    found = as_id(text)
    if text is not None and found is None:
        raise typer.BadParameter(f"{text!r} is no id", param_hint="'--before'")
    return found


def run_id(uow: SqlUnitOfWork, text: str, automation: str | None = None) -> UUID:
    """A Run by its id or its correlation id."""
    from runlink.application.runs import find_run

    return find_run(uow, text, automation)


def instance_id(uow: SqlUnitOfWork, text: str, engine: str | None = None) -> UUID:
    """An instance by its id or by the id its engine gave it."""
    found = as_id(text)
    if found is not None and uow.orchestration_instances.get(found) is not None:
        return found
    rows = uow.reports.instances(external_id=text, engine=engine, limit=10)
    return _only(rows, f"instance has the id or external id {text!r}", "runlink instances list", "engine", "workflow")


def batch(uow: SqlUnitOfWork, text: str, automation: str | None = None) -> dict[str, Any]:
    """A batch by its id or its name."""
    found = as_id(text)
    if found is not None and (rows := uow.reports.batches(batch_id=found)):
        return rows[0]
    rows = uow.reports.batches(name=text, automation=automation, limit=10)
    chosen = _only(rows, f"batch has the id or name {text!r}", "runlink batches list", "automation", "name")
    return next(row for row in rows if row["id"] == chosen)


def automation(uow: SqlUnitOfWork, text: str) -> Automation:
    """An automation by its name or id."""
    from runlink.application.runs import find_automation

    return find_automation(uow, text)


def _only(rows: Sequence[dict[str, Any]], what: str, where: str, *told: str) -> UUID:
    from runlink.application.errors import Missing
    from runlink.domain import ValidationError

    if not rows:
        raise Missing(f"no {what}; see `{where}`")
    if len(rows) > 1:
        choice = "".join(f"\n  {row['id']}  {'  '.join(str(row[name]) for name in told)}" for row in rows)
        raise ValidationError(f"more than one {what}; give the id:{choice}")
    found: UUID = rows[0]["id"]
    return found
