"""Items follow what has changed: whatever changes instances, links or Runs comes here behind it, and before the roll-up
of those Runs, in the same transaction. How it is done is in `steps`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from runlink.application.ports import UnitOfWork
from runlink.application.rows import StepRow
from runlink.application.rules.rules import Rules
from runlink.domain import DomainEvent, InstanceLinked


def follow_items(
    uow: UnitOfWork,
    rules: Rules,
    now: datetime,
    *,
    new: Iterable[UUID] = (),
    changed: Iterable[UUID] = (),
    whole: Iterable[UUID] = (),
    runs: Iterable[UUID] = (),
    steps: Sequence[StepRow] = (),
    events: Iterable[DomainEvent] = (),
) -> None:
    """Brings the items of these instances, and the executions of their Runs, in line with the stored steps.

    `steps` are all of the `new` instances and the changed ones of `changed`; of `whole`, and of what `events` tell was
    linked, and of all instances of `runs`, all stored steps are read. Without rules nothing is asked of the store.
    """
    if not rules.items:
        return
    from runlink.application.items.steps import Following, Scope  # a megabyte that is needed where there are such rules

    linked = {event.orchestration_instance_id for event in events if isinstance(event, InstanceLinked)}
    scope = Scope(set(new), set(whole), set(changed), steps)
    scope.whole |= linked - scope.new
    if begun_again := list(runs):
        scope.whole |= {one.instance_id for one in uow.ledger.carriers_of(begun_again)}
    scope.changed -= scope.whole | scope.new
    if scope.ids:
        Following(uow, rules, scope, now).follow()
