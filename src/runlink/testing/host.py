"""A host round one adapter, in a test: real turns into a real SQLite store, on the engine's clock.

The contract comes here, and plugin tests that tell a story of several turns.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

from runlink.application.ingest.ingest import Outcome, Read, ingest
from runlink.application.rules.rules import Rules
from runlink.application.settings import EngineSettings
from runlink.daemon.turn import Source, Turn, poll_turn, watch_turn
from runlink.domain import Engine, ExecutionStatus
from runlink.hosting.hosted import HostedAdapter, build_adapter
from runlink.hosting.secrets import Redactor
from runlink.hosting.wire import Wire
from runlink.spi import Adapter, EngineInfo, Observation, Page
from runlink.store import open_store

FACTS: Final = (
    "workflow", "status", "native_status", "queued_at", "started_at", "finished_at", "url", "message", "parameters",
    "labels", "parent_external_id", "instance_metadata",
)  # fmt: skip
_STEP: Final = ("external_id", "name", "attempt", "status", "native_status", "started_at", "finished_at")
TURN_S: Final = 1800.0
"""What a turn may take: a busy machine is slow, and what hangs is ended by the test's own time limit."""


class Crash(Exception):
    """The process died here, as far as the store can tell."""


class Host:
    """A context manager. Its clock is the engine's, `skew_s` behind, and moves a little at each look.

    `engine_settings` are fields of EngineSettings (`request_timeout_s`, `max_requests_per_minute`, …). `still`: the
    adapter sees one time always. `wire` as in `build_adapter`.
    """

    def __init__(
        self,
        adapter_class: type[Adapter],
        url: str,
        *,
        now: Callable[[], datetime],
        config: Mapping[str, Any] | None = None,
        since: datetime | None = None,
        skew_s: float = 0.0,
        backfill: bool = False,
        still: bool = False,
        wire: Callable[[Redactor], Wire] | None = None,
        **engine_settings: Any,
    ) -> None:
        fields: dict[str, Any] = {"name": "test", "type": adapter_class.name, "max_requests_per_minute": 60_000}
        fields |= {"poll_deadline_s": TURN_S, **engine_settings}
        self.adapter_class = adapter_class
        self.settings = EngineSettings(url=url, options=dict(config or {}), **fields)
        self._engine_now = now
        self._skew = timedelta(seconds=skew_s)
        self._looks = 0
        self._since = since if since is not None else now() - self._skew - timedelta(days=7)
        self._backfill = backfill
        self._wire = wire
        self._adapter_now = now if still else self.now
        self._folder = tempfile.TemporaryDirectory(prefix="runlink-test-")
        path = Path(self._folder.name) / "runlink.db"
        path.write_bytes(_empty_store())
        self.store = open_store(f"sqlite:///{path}")
        self.engine = Engine(name="test", type=adapter_class.name, url=url)
        with self.store.unit_of_work("test") as uow:
            uow.engines.add(self.engine)
        self.hosted: HostedAdapter = self._built()
        self._checked = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hosted.close()
        self.store.close()
        self._folder.cleanup()

    @property
    def adapter(self) -> Any:
        """The adapter of this process."""
        return self.hosted.adapter

    @property
    def requests(self) -> int:
        """How many requests the adapter of this process has sent."""
        return self.hosted.guard.requests

    def now(self) -> datetime:
        """The host's clock."""
        self._looks += 1
        return self._engine_now() - self._skew + timedelta(microseconds=100 * self._looks)

    def restart(self, **engine_settings: Any) -> None:
        """A new process: another adapter, which knows nothing but the stored cursors. Settings that are given are its
        own from then on."""
        self.hosted.close()
        self.settings = dataclasses.replace(self.settings, **engine_settings)
        self.hosted, self._checked = self._built(), False

    def _built(self) -> HostedAdapter:
        return build_adapter(
            self.adapter_class,
            self.settings,
            now=self._adapter_now,
            since=self._since,
            backfill=self._backfill,
            wire=self._wire,
        )

    # --- feeds -------------------------------------------------------------------------------------------------------

    def check(self) -> EngineInfo:
        """As the feed does before a new adapter's first turn."""
        self.hosted.guard.begin_turn(self._deadline())
        info: EngineInfo = self.adapter.check()
        behind_s = min(0.0, self.hosted.guard.skew_s or 0.0)
        if behind_s < -1.0:
            self.hosted.context.since = self._since + timedelta(seconds=behind_s)
        self._checked = True
        return info

    def turn(self, *, crash_after: int | None = None) -> Outcome:
        """One turn as the daemon's: a poll, then a refetch of what is open and was not shown.

        `crash_after`: Crash is raised once so many pages are stored. Raises what the adapter raises.
        """
        if not self._checked:
            self.check()
        self.hosted.guard.begin_turn(self._deadline())
        stored = 0

        def page(_outcome: Outcome) -> None:
            nonlocal stored
            stored += 1
            if stored == crash_after:
                raise Crash(f"after {stored} pages")

        if crash_after == 0:
            raise Crash("before the first page")
        return poll_turn(self._source(page), Turn(deadline=self._deadline()))

    def read_steps(self) -> None:
        """Reads again what ended and was told without steps, as the daemon does for linked instances."""
        self.hosted.guard.begin_turn(self._deadline())
        for page in self.adapter.refetch([name for name, row in self.table().items() if not row["steps"]]):
            self.take(page, feed="refetch")

    def _deadline(self) -> float:
        return time.monotonic() + self.settings.poll_deadline_s

    def watch(self, until: Callable[[], bool]) -> None:
        """Follows the stream until it ends, or `until` says so after a page. Raises what the adapter raises."""
        self.hosted.guard.begin_turn(None)
        enough = Crash("enough was seen")

        def alive(_page: Page) -> None:
            if until():
                raise enough

        try:
            watch_turn(self._source(lambda _outcome: None), Turn(deadline=math.inf), alive)
        except Crash as error:
            if error is not enough:
                raise

    def take(self, page: Page, *, feed: str = "poll", began_at: datetime | None = None) -> Outcome:
        """Stores a page as one of this feed would be; a push only moves forward."""
        read = Read(feed=feed, began_at=began_at or self.now(), authoritative=feed != "push")
        return self.store.write(
            lambda uow: ingest(uow, Rules(()), self.engine, page, read, self.now()), actor="engine:test"
        )

    def push(self, observations: tuple[Observation, ...]) -> Outcome:
        """Stores what a delivery told."""
        return self.take(Page(observations=observations), feed="push")

    def _source(self, on_page: Callable[[Outcome], None]) -> Source:
        return Source(
            engine=self.engine,
            settings=self.settings,
            adapter=self.adapter,
            rules_now=lambda: Rules(()),
            store=self.store,
            now=self.now,
            on_page=on_page,
        )

    # --- what is stored ----------------------------------------------------------------------------------------------

    def cursors(self) -> dict[str, str]:
        """The stored cursors of the poll, which the watch shares."""
        with self.store.reading() as uow:
            return uow.ledger.cursors(self.engine.id, "poll")

    def set_cursors(self, cursors: Mapping[str, str | None]) -> None:
        """Stores other ones."""
        self.take(Page(cursors=cursors))

    def table(self) -> dict[str, dict[str, Any]]:
        """All that is known of each instance by external id: FACTS, `attempt`, `vanished`, and `steps` in order."""
        with self.store.reading() as uow:
            rows = uow.reports.instances(limit=1_000_000)
            steps = uow.reports.steps([row["id"] for row in rows])
        parts: dict[UUID, list[tuple[Any, ...]]] = {}
        for step in steps:
            parts.setdefault(step["instance_id"], []).append(tuple(step[name] for name in _STEP))
        told: dict[str, dict[str, Any]] = {}
        for row in rows:
            facts = {name: row[name] for name in FACTS}
            extra = {"attempt": row["attempt"], "vanished": row["vanished_at"] is not None}
            extra["status"] = ExecutionStatus(row["status"])
            told[row["external_id"]] = {**facts, **extra, "steps": tuple(sorted(parts.get(row["id"], ()), key=repr))}
        return told

    def attempts(self) -> dict[str, dict[int, dict[str, Any]]]:
        """The tries of each instance, by external id and number."""
        with self.store.reading() as uow:
            names = {row["id"]: row["external_id"] for row in uow.reports.instances(limit=1_000_000)}
            rows = uow.reports.attempts(list(names))
        told: dict[str, dict[int, dict[str, Any]]] = {}
        for row in rows:
            told.setdefault(names[row["instance_id"]], {})[row["number"]] = row
        return told

    def set_aside(self) -> list[dict[str, Any]]:
        """Items that made no sense, latest first."""
        with self.store.reading() as uow:
            return uow.reports.quarantine(limit=1_000_000)


@functools.cache
def _empty_store() -> bytes:
    """A migrated SQLite file: setting up the tables for each test would take longer than the test."""
    with tempfile.TemporaryDirectory(prefix="runlink-test-") as folder:
        path = Path(folder) / "empty.db"
        open_store(f"sqlite:///{path}").close()
        return path.read_bytes()
