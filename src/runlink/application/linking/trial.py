"""What linking would do, found out by doing it on a ledger that writes nothing. `relink` comes here for a dry run.

What is written stays in memory, and is read back from there beside what is stored; the store is only read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from runlink.application.ports import LinkLedger
from runlink.application.rows import AttemptRow, Correlation, Kin, RunTimes, StepRow, WaitingKey
from runlink.domain import Engine, Run, RunOrchestration


class StoredLedger(LinkLedger, Protocol):
    """What must be read of the store to put it together with what is in memory."""

    def correlations_of(self, instance_ids: Sequence[UUID], side: str) -> list[Correlation]: ...
    def correlated(self, topics: Iterable[str], values: Iterable[str], side: str) -> list[Correlation]: ...
    def waiting(self, automation_id: UUID, keys: Sequence[str]) -> list[WaitingKey]: ...


class TrialLedger:
    """A `LinkLedger` on one that can only be read. `engines` are as the configuration has them, by id."""

    def __init__(self, stored: StoredLedger, engines: Mapping[UUID, Engine]) -> None:
        self._stored = stored
        self._engines = engines
        self._forgotten: set[UUID] = set()  # instances whose stored correlations and waiting keys count no more
        self._correlations: dict[Correlation, None] = {}
        self._waiting: dict[WaitingKey, None] = {}
        self._taken: set[WaitingKey] = set()
        self._runs: list[Run] = []
        self.known = stored.known
        self.tracked = stored.tracked
        self.children = stored.children
        self.links_of = stored.links_of

    # --- what is only read -----------------------------------------------------------------------------------------

    def steps_of(self, instance_ids: Sequence[UUID], external_ids: Sequence[str] | None = None) -> list[StepRow]:
        """As stored."""
        return self._stored.steps_of(instance_ids, external_ids)

    def attempts_of(self, instance_ids: Sequence[UUID]) -> list[AttemptRow]:
        """As stored."""
        return self._stored.attempts_of(instance_ids)

    def engines(self, ids: Sequence[UUID]) -> dict[UUID, Engine]:
        """As the configuration has them; those that left it as they are stored."""
        return self._stored.engines(ids) | {one: self._engines[one] for one in ids if one in self._engines}

    # --- correlations ----------------------------------------------------------------------------------------------

    def forget_claims(self, instance_ids: Sequence[UUID]) -> None:
        """What is stored of these counts no more."""
        self._forgotten.update(instance_ids)

    def insert_correlations(self, rows: Sequence[Correlation]) -> None:
        """Those that are there already stay."""
        self._correlations.update(dict.fromkeys(rows))

    def kin(self, instance_ids: Sequence[UUID], side: str) -> list[Kin]:
        """Of these, as parents or as children, whom they have a value in common with."""
        ids, other = set(instance_ids), "parent" if side == "child" else "child"
        mine = [row for row in self._correlations if row.side == side and row.instance_id in ids]
        mine += self._stored.correlations_of([one for one in instance_ids if one not in self._forgotten], side)
        topics, values = {row.topic for row in mine}, {row.value for row in mine}
        theirs = [row for row in self._correlations if row.side == other]
        stored = self._stored.correlated(topics, values, other)
        theirs += [row for row in stored if row.instance_id not in self._forgotten]
        by_value: dict[tuple[str, str], set[UUID]] = {}
        for row in theirs:
            by_value.setdefault((row.topic, row.value), set()).add(row.instance_id)
        found = {
            Kin(row.topic, row.value, *((row.instance_id, one) if side == "child" else (one, row.instance_id)))
            for row in mine
            for one in by_value.get((row.topic, row.value), ())
            if one != row.instance_id
        }
        return sorted(found, key=lambda kin: (kin.child_id, kin.parent_id, kin.topic, kin.value))

    # --- Runs ------------------------------------------------------------------------------------------------------

    def lock_automations(self, ids: Sequence[UUID]) -> None:
        """Nobody waits for what is not written."""

    def runs_by_key(
        self,
        automation_id: UUID,
        keys: Sequence[str],
        *,
        timed: bool = True,  # noqa: ARG002 - always, since what would be made comes beside what is stored
    ) -> dict[str, list[RunTimes]]:
        """Stored Runs and those that would be made."""
        found = self._stored.runs_by_key(automation_id, keys, timed=True)
        wanted = set(keys)
        for run in self._runs:
            if run.automation_id == automation_id:
                for key in wanted & {str(run.id), run.correlation_id or ""}:
                    found[key] = [*found.get(key, ()), RunTimes(run.id, run.created_at, None)]
        return found

    def insert_runs(self, runs: Sequence[Run], actor: str) -> None:  # noqa: ARG002
        """Runs that would be made."""
        self._runs += runs

    def insert_waiting(self, rows: Sequence[WaitingKey]) -> None:
        """Keys to be looked for when a Run would be made."""
        self._waiting.update(dict.fromkeys(rows))

    def take_waiting(self, automation_id: UUID, keys: Sequence[str]) -> list[WaitingKey]:
        """Gives what waited for one of these keys, once."""
        wanted = set(keys)
        mine = [row for row in self._waiting if row.automation_id == automation_id and row.key in wanted]
        for row in mine:
            del self._waiting[row]
        stored = self._stored.waiting(automation_id, keys)
        left = [row for row in stored if row.instance_id not in self._forgotten and row not in self._taken]
        self._taken.update(left)
        return list(dict.fromkeys([*mine, *left]))

    # --- links: whoever links keeps them himself -------------------------------------------------------------------

    def insert_links(self, links: Sequence[RunOrchestration], actor: str) -> None:
        """Links that would be made."""

    def update_links(self, links: Sequence[RunOrchestration], actor: str) -> None:
        """Links that would change."""
