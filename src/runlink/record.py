"""The record for programs: make a Run, pass its key on, wait for its end, read its items (`from runlink import …`).

Everything is read from and written to the store of a configuration, beside a running `runlink serve`, which is what
learns of the engines. Nothing here talks to an engine.
"""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from runlink.application.errors import Missing
from runlink.application.explaining.explain import explain
from runlink.application.runs import Move, create_run_of, find_run, move_run
from runlink.bootstrap import Runlink
from runlink.domain import DomainError, ExecutionStatus, checked_optional_time

_PAGE = 500


class RunNotEnded(DomainError, TimeoutError):
    """The time to wait is over, and the Run goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A Run as it was when it was read. `key` is what to pass on to engines, so that their runs find it."""

    id: UUID
    key: str
    automation: str
    status: ExecutionStatus
    attempt: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    reason: str | None
    """Why it failed or was cancelled, in one line."""

    @property
    def is_ended(self) -> bool:
        """Whether it has completed, failed, or was cancelled."""
        return self.status.is_ended


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceState:
    """An external run that counts for a Run; `native_status` is its engine's own word."""

    id: UUID
    engine: str
    workflow: str | None
    external_id: str
    status: ExecutionStatus
    native_status: str | None
    attempt: int
    started_at: datetime | None
    finished_at: datetime | None
    message: str | None
    url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemState:
    """How one item fares in a Run. `error` is the message of its latest failure."""

    id: UUID
    batch: str
    sequence_number: int
    status: ExecutionStatus
    attempts: int
    max_attempts: int | None
    started_at: datetime | None
    finished_at: datetime | None
    result: Any
    error: str | None


def connect(config: Path | str | None = None, *, actor: str | None = None) -> Record:
    """Opens the record that a configuration names: the file given, or `RUNLINK_CONFIG`, or `runlink.toml` here.

    `actor` is written to whatever is changed; by default `program:USER`. Raises ConfigError and StoreError.
    """
    return Record(Runlink.open_record(None if config is None else Path(config)), actor or f"program:{_user()}")


class Record:
    """An open record. Use it in a `with`, or `close` it; it may be used from several threads.

    Where a method takes a Run, it takes a RunState, an id, or a key. Several Runs with one key are refused with
    ValidationError; `automation` tells them apart. No such Run is Missing.
    """

    def __init__(self, runlink: Runlink, actor: str) -> None:
        self._runlink = runlink
        self._actor = actor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the store."""
        self._runlink.close()

    # --- Runs --------------------------------------------------------------------------------------------------

    def create_run(self, automation: str, key: str | None = None) -> RunState:
        """A new Run. `key` is an id of yours; without one the Run's own id is the key.

        Instances that were seen before and carry the key are linked at once. Raises Missing for an automation that is
        neither stored nor named in the configuration.
        """
        runlink = self._runlink
        run = runlink.store.write(
            lambda uow: create_run_of(uow, runlink.settings, automation, correlation_id=key, now=runlink.now()),
            actor=self._actor,
            urgent=True,
        )
        return self.run(run.id)

    def run(self, run: RunState | UUID | str, automation: str | None = None) -> RunState:
        """The present state of a Run."""
        with self._runlink.store.reading() as uow:
            run_id = find_run(uow, _name(run), automation)
            found = uow.runs.get(run_id)
            owner = uow.automations.get(found.automation_id) if found is not None else None
        if found is None or owner is None:
            raise Missing(f"no run has the id {run_id}")
        return RunState(
            id=found.id,
            key=found.correlation_id or str(found.id),
            automation=owner.name,
            status=found.status,
            attempt=found.attempt,
            created_at=found.created_at,
            started_at=found.started_at,
            finished_at=found.finished_at,
            reason=found.error_summary or found.cancellation_reason,
        )

    def wait(
        self, run: RunState | UUID | str, timeout_s: float | None = None, *, look_every_s: float = 0.5
    ) -> RunState:
        """Waits until the Run has ended, and gives its state; raises RunNotEnded when `timeout_s` have passed.

        An ended Run may be opened again when something of it is run again: what is given is the end that was seen.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not (state := self.run(run)).is_ended:
            if until is not None and time.monotonic() >= until:
                raise RunNotEnded(
                    f"run {state.key} is {state.status} after {timeout_s:g} s; `runlink explain` says why"
                )
            time.sleep(look_every_s)
        return state

    def move_run(self, run: RunState | UUID | str, move: Move | str, *, reason: str | None = None) -> RunState:
        """Starts, completes, fails or cancels a Run by hand ("start", "complete", "fail", "cancel"), or gives an ended
        one back to its instances ("reopen"). Raises InvalidStateError when its status does not allow it."""
        runlink, rules, wanted = self._runlink, self._runlink.rules(), Move(move)
        runlink.store.write(
            lambda uow: move_run(uow, rules, find_run(uow, _name(run)), wanted, reason=reason, now=runlink.now()),
            actor=self._actor,
            urgent=True,
        )
        return self.run(run)

    def explain(self, run: RunState | UUID | str, as_of: datetime | None = None) -> dict[str, Any]:
        """Why the Run is in its state, or was at `as_of`, an aware time: see
        `runlink.application.explaining.explain`."""
        then = checked_optional_time(as_of, "as_of")
        rules = self._runlink.rules()
        with self._runlink.store.reading() as uow:
            return explain(uow, rules, find_run(uow, _name(run)), now=self._runlink.now(), as_of=then)

    # --- what it is made of ------------------------------------------------------------------------------------

    def instances(self, run: RunState | UUID | str) -> list[InstanceState]:
        """The external runs that count for a Run, oldest first."""
        names = ("id", "engine", "workflow", "external_id", "native_status", "attempt", "started_at", "finished_at",
                 "message", "url")  # fmt: skip
        with self._runlink.store.reading() as uow:
            rows = uow.reports.instances(run_id=find_run(uow, _name(run)), limit=100_000)
        return [
            InstanceState(status=ExecutionStatus(row["status"]), **{name: row[name] for name in names})
            for row in reversed(rows)
        ]

    def items(
        self, run: RunState | UUID | str, *, batch: str | None = None, status: ExecutionStatus | str | None = None
    ) -> Iterator[ItemState]:
        """How the items of a Run fare, newest execution first, read page by page."""
        wanted = None if status is None else ExecutionStatus(status).value
        before: UUID | None = None
        while True:
            with self._runlink.store.reading() as uow:
                rows = uow.reports.item_executions(
                    run_id=find_run(uow, _name(run)), batch=batch, status=wanted, before=before, limit=_PAGE
                )
            yield from (_item(row) for row in rows)
            if len(rows) < _PAGE:
                return
            before = rows[-1]["id"]


def _item(row: dict[str, Any]) -> ItemState:
    return ItemState(
        id=row["id"],
        batch=row["batch"],
        sequence_number=row["sequence_number"],
        status=ExecutionStatus(row["status"]),
        attempts=row["attempt_count"],
        max_attempts=row["max_attempts"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        result=row["result_payload"],
        error=row["error_message"],
    )


def _name(run: RunState | UUID | str) -> str:
    return str(run.id) if isinstance(run, RunState) else str(run)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"
