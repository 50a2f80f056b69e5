"""From what steps claim to be to Batches and Items: found, made where a rule says so, or a reason why not.

`find` reads, `make` decides what is new; whoever calls stores it. A payload that is stored is never changed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from runlink.application.items.payloads import batch_check, item_check
from runlink.application.items.rows import ItemRow
from runlink.application.items.rules import MAX_NUMBER, Claim, natural
from runlink.application.ports import Ledger
from runlink.domain import Automation, Batch, Item
from runlink.domain.values import same_json

BatchName = tuple[UUID, bool, str]
"""(Run, whether its items are the same from run to run, the name a rule gives)."""


@dataclass(frozen=True, slots=True)
class Whose:
    """The Run that items are resolved for."""

    run_key: str
    automation: Automation


@dataclass
class Resolving:
    """Resolves claims of several Runs. `batches`, `items` and `keys` (batch, key, item) are what is to be stored."""

    ledger: Ledger
    whose: Mapping[UUID, Whose]
    now: datetime
    batches: list[Batch] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    keys: list[tuple[UUID, str, UUID]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._known: dict[BatchName, Batch] = {}
        self._made: set[UUID] = set()
        self._by_number: dict[tuple[UUID, int], ItemRow] = {}
        self._by_key: dict[tuple[UUID, str], ItemRow] = {}
        self._item_checks: dict[UUID, Callable[[Any], str | None]] = {}

    def place(self, claim: Claim) -> tuple[str | None, int | None]:
        """The batch and the number that a claim came to, as far as it did."""
        batch = self._known.get(_name(claim))
        row = self._by_key.get((batch.id, claim.key)) if batch is not None and claim.key is not None else None
        return (batch.name if batch is not None else claim.batch or None), (
            row.sequence_number if row else claim.number
        )

    # --- find --------------------------------------------------------------------------------------------------

    def find(self, claims: Sequence[Claim]) -> list[Claim]:
        """Fills in what exists already; returns the claims of which something does not."""
        self._find_batches({_name(claim) for claim in claims})
        waiting = []
        for claim in claims:
            batch = self._known.get(_name(claim))
            if batch is None:
                waiting.append(claim)
            elif not batch.is_active:
                claim.problem = f"batch {batch.name!r} is deleted; restore it"
            else:
                claim.batch_id = batch.id
                waiting.append(claim)
        self._find_items(waiting)
        return [claim for claim in waiting if not self._take(claim)]

    def _find_batches(self, names: Iterable[BatchName]) -> None:
        wanted = {name: self._candidates(name) for name in names if name not in self._known}
        if not wanted:
            return
        automation_ids = {self.whose[run_id].automation.id for run_id, _, _ in wanted}
        texts = list({text for found in wanted.values() for text in found})
        stored = {(b.automation_id, b.name): b for b in self.ledger.batches_named(list(automation_ids), texts)}
        for name, candidates in wanted.items():
            automation_id = self.whose[name[0]].automation.id
            found = next((b for text in candidates if (b := stored.get((automation_id, text))) is not None), None)
            if found is not None:
                self._known[name] = found

    def _candidates(self, name: BatchName) -> list[str]:
        """The names a batch may have, the one it would be made with first."""
        run_id, stable, text = name
        key = self.whose[run_id].run_key
        return [text] if stable or text == key else [f"{text} ({key})", text]

    def _find_items(self, claims: Iterable[Claim]) -> None:
        numbers: dict[int, None] = {}
        keys: dict[str, None] = {}
        ids: dict[UUID, None] = {}
        for claim in claims:
            if claim.batch_id is None or claim.batch_id in self._made:
                continue
            ids[claim.batch_id] = None
            if claim.number is not None:
                numbers[claim.number] = None
            if claim.key is not None:
                keys[claim.key] = None
        for row in self.ledger.items_keyed(list(ids), list(keys)):
            self._by_key[row.batch_id, row.key or ""] = row
        for row in self.ledger.items_numbered(list(ids), list(numbers)):
            self._by_number[row.batch_id, row.sequence_number] = row

    def _take(self, claim: Claim) -> bool:
        """Whether the claim is settled: its item was found, or a problem."""
        if claim.batch_id is None:
            return False
        row = self._by_key.get((claim.batch_id, claim.key)) if claim.key is not None else None
        if row is None and claim.number is not None:
            row = self._by_number.get((claim.batch_id, claim.number))
            if row is not None and claim.key is not None and row.key is not None:
                claim.problem = f"number {claim.number} is that of the item with key {row.key!r}"
                return True
            if row is not None and claim.key is not None:
                self._remember(row._replace(key=claim.key))
                self.keys.append((row.batch_id, claim.key, row.id))
        if row is None:
            return False
        if not row.is_active:
            claim.problem = f"item {row.sequence_number} of the batch is deleted; restore it"
            return True
        claim.item_id = row.id
        claim.differs = self._difference(claim, row)
        return True

    def _difference(self, claim: Claim, row: ItemRow) -> str | None:
        if claim.rule.payload is not None and not same_json(row.payload, claim.payload):
            return f"item {row.sequence_number}: its payload is not what step {claim.name!r} gives"
        batch = self._known[_name(claim)]
        if claim.rule.batch_payload is not None and not same_json(batch.payload, claim.batch_payload):
            return f"batch {batch.name!r}: its payload is not what step {claim.name!r} gives"
        return None

    def _remember(self, row: ItemRow) -> None:
        self._by_number[row.batch_id, row.sequence_number] = row
        if row.key is not None:
            self._by_key[row.batch_id, row.key] = row

    # --- make --------------------------------------------------------------------------------------------------

    def make(self, claims: Sequence[Claim]) -> None:
        """Decides on what is missing: made when the rule says so and the payload fits the schema, else a problem.

        In the order of numbers and keys, so that what is told at once is numbered the same, however it is told.
        """
        for claim in claims:
            if claim.batch_id is None:
                self._batch_for(claim)
        ready = [claim for claim in claims if claim.problem is None]
        ready.sort(key=lambda c: (c.number is None, c.number or 0, natural(c.key) if c.key else ()))
        unnumbered = {c.batch_id for c in ready if c.number is None and c.batch_id not in self._made}
        following = {
            one: number + 1
            for one, number in self.ledger.last_numbers([one for one in unnumbered if one is not None]).items()
        }
        for claim in ready:
            if not self._take(claim):
                self._make_item(claim, claim.batch_id, following)  # type: ignore[arg-type]  # set by `_batch_for`

    def _batch_for(self, claim: Claim) -> None:
        name = _name(claim)
        batch = self._known.get(name)
        if batch is None:
            whose, text = self.whose[claim.run_id], self._candidates(name)[0]
            same = next((b for b in self.batches if (b.automation_id, b.name) == (whose.automation.id, text)), None)
            if same is None:
                if not claim.rule.create:
                    claim.problem = (
                        f"there is no batch {' or '.join(map(repr, self._candidates(name)))}; make it, or {_CREATE}"
                    )
                    return
                if (problem := batch_check(whose.automation)(claim.batch_payload)) is not None:
                    claim.problem = f"batch payload: {problem}"
                    return
                same = Batch(
                    automation_id=whose.automation.id, name=text, payload=claim.batch_payload, created_at=self.now
                )
                self.batches.append(same)
                self._made.add(same.id)
            self._known[name] = batch = same
        claim.batch_id = batch.id

    def _make_item(self, claim: Claim, batch_id: UUID, following: dict[UUID, int]) -> None:
        if not claim.rule.create:
            what = f"number {claim.number}" if claim.number is not None else f"key {claim.key!r}"
            claim.problem = f"the batch has no item with {what}; add it, or {_CREATE}"
            return
        automation = self.whose[claim.run_id].automation
        check = self._item_checks.get(automation.id)
        if check is None:
            check = self._item_checks[automation.id] = item_check(automation)
        if (problem := check(claim.payload)) is not None:
            claim.problem = f"payload: {problem}"
            return
        number = claim.number if claim.number is not None else following.get(batch_id, 0)
        if number > MAX_NUMBER:
            claim.problem = "the batch has no number left"
            return
        following[batch_id] = max(following.get(batch_id, 0), number + 1)
        item = Item(batch_id=batch_id, sequence_number=number, payload=claim.payload, created_at=self.now)
        self.items.append(item)
        claim.item_id, claim.made = item.id, True
        if claim.key is not None:
            self.keys.append((batch_id, claim.key, item.id))
        self._remember(ItemRow(item.id, batch_id, number, claim.payload, True, claim.key))


_CREATE = "write create = true in the rule"


def _name(claim: Claim) -> BatchName:
    return claim.run_id, claim.rule.key is not None, claim.batch
