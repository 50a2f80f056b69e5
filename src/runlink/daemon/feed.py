"""One engine's poll feed from turn to turn: its adapter, and what follows success or failure."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from runlink.application import tracing
from runlink.application.errors import FenceLost
from runlink.application.ingest.ingest import Outcome
from runlink.application.ports import Store, UnitOfWork
from runlink.application.rules.rules import Rules
from runlink.application.settings import DEFAULT_POLL_INTERVAL_S, EngineSettings
from runlink.daemon.backoff import react
from runlink.daemon.errors import AdapterMisbehaved, StoreTrouble, TurnGivenUp, words
from runlink.daemon.health import AnyLogger, Health, log
from runlink.daemon.push import Push
from runlink.daemon.turn import Source, Turn, poll_turn
from runlink.domain import Engine
from runlink.hosting import AdapterFault, HostedAdapter
from runlink.hosting.meters import Budget
from runlink.spi import AdapterError, EngineInfo
from runlink.store.feed_health import FeedHealthRow

MAX_LEFT_BEHIND = 3
"""Threads of one engine that may hang at a time; with more, it is not polled until one of them ends."""
RECHECK_S = 60.0
"""How often it is then looked whether one has ended."""
GRACE_S = 5.0
"""How long past its deadline a turn may go on before its connections are closed under it."""
LET_GO_S = 1.0
"""How long a turn then has to end before its thread is left behind; also what an adapter's `close` may take."""

STEPS_EVERY_S = 300.0
"""How often an engine without news is searched for steps that were not read (a Run was linked by hand, …)."""

RARELY = 10.0
"""How many times less an engine is polled while its deliveries tell all, unless the operator says."""

Progress = Callable[[str, Outcome], None]
Build = Callable[[EngineSettings, datetime, bool], HostedAdapter]


class EngineFeed:
    """Polls one engine. `run` is called for each turn, from one worker at a time; the rest from anywhere.

    build    makes the adapter from settings, the start of the look-back window, and whether this is a backfill
    fence    the daemon's fencing token; None outside a lease
    watches  whether the adapter also has a stream, which a WatchFeed follows
    receives whether the engine may also push, which a ReceiveFeed takes in
    grace_s  see GRACE_S
    """

    kind = "poll"

    def __init__(
        self,
        engine: Engine,
        settings: EngineSettings,
        *,
        store: Store,
        rules: Rules,
        build: Build,
        now: Callable[[], datetime],
        fence: int | None = None,
        progress: Progress = lambda _name, _outcome: None,
        backfill_since: datetime | None = None,
        watches: bool = False,
        receives: bool = False,
        grace_s: float = GRACE_S,
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.rules = rules
        self.watches = watches
        self.receives = receives
        self.push = Push()
        self.health = Health(engine.name)
        self._store = store
        self._build = build
        self._now = now
        self._fence = fence
        self._progress = progress
        self._backfill_since = backfill_since
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self._turn: Turn | None = None
        self._hosted: HostedAdapter | None = None
        self._last_hosted: HostedAdapter | None = None
        self._is_checked = False
        self._warned: tuple[str, ...] = ()
        self._requests_before = 0
        self._left_behind: list[threading.Thread] = []
        self._closed = False
        self._expired = False
        self._steps_due = 0.0

    @property
    def budget(self) -> Budget | None:
        """What is left of the engine's request budget; None before its adapter was made."""
        hosted = self._last_hosted
        return None if hosted is None else hosted.guard.budget

    @property
    def answers(self) -> dict[str, int]:
        """How often which status was answered to the engine's requests since the start."""
        hosted = self._last_hosted
        return {} if hosted is None else hosted.guard.answers

    # --- a turn ------------------------------------------------------------------------------------------------

    def run(self) -> float | None:
        """One turn; returns seconds until the next, None when there is to be none. Raises FenceLost, nothing else."""
        if self.left_behind >= MAX_LEFT_BEHIND:
            return self._wait_for_threads()
        started = time.monotonic()
        turn = Turn(deadline=started + self.settings.poll_deadline_s, wants_steps=started >= self._steps_due)
        with self._lock:
            if self._closed:
                return None
            self._turn = turn
        outcome: Outcome | None = None
        error: BaseException | None = None
        try:
            with tracing.span("poll", {"runlink.engine": self.engine.name, "runlink.engine_type": self.engine.type}):
                outcome = self._poll(turn)
        except BaseException as raised:  # noqa: BLE001 - plugin code: whatever it raises ends this turn and no more
            error = raised
        try:
            return self._after(turn, outcome, error, time.monotonic() - started)
        finally:
            with self._lock:
                if self._turn is turn:
                    self._turn = None

    def _after(
        self, turn: Turn, outcome: Outcome | None, error: BaseException | None, duration_s: float
    ) -> float | None:
        if isinstance(error, FenceLost) or (isinstance(error, KeyboardInterrupt) and _is_main()):
            raise error
        with self._lock:
            if self._turn is not turn or self._closed:  # left behind: somebody else goes on; or nobody does
                return None
        if outcome is None:
            return self._failed(turn, error or TurnGivenUp("nothing came of the turn"))
        if turn.wants_steps or time.monotonic() >= self._steps_due:
            self._steps_due = time.monotonic() + (0.0 if turn.wants_steps else STEPS_EVERY_S)
        self._meter()
        self.health.succeeded(self._now(), duration_s)
        self.health.set_aside(outcome.quarantined)
        if outcome.new or outcome.changed:
            self.health.last_news_at = self._now()
        if self.receives:
            self.push.polled(outcome.moved)
        return self._interval_s()

    def _interval_s(self) -> float:
        """Until the next poll: longer while deliveries tell all there is to know."""
        settings = self.settings
        wait_s = DEFAULT_POLL_INTERVAL_S if settings.poll_interval_s is None else settings.poll_interval_s
        if settings.webhook is None or not self.push.is_healthy:
            return wait_s
        return max(wait_s, settings.webhook.poll_interval_s or RARELY * wait_s)

    def _poll(self, turn: Turn) -> Outcome:
        hosted = self._adapter(turn)
        hosted.guard.begin_turn(turn.deadline)
        source = self.source(hosted)
        if not self._is_checked:
            self._learn(source, turn, hosted)
        outcome = poll_turn(source, turn, backfill=self._backfill_since is not None, afresh=self._expired)
        self._expired = False
        return outcome

    def _adapter(self, turn: Turn) -> HostedAdapter:
        """The adapter, made when there is none, or its process is gone."""
        hosted = self._hosted
        if hosted is not None and not hosted.is_lost:
            return hosted
        self._let_go(turn)
        since = self._backfill_since or self._now() - timedelta(seconds=self.settings.lookback_s)
        hosted = self._build(self.settings, since, self._backfill_since is not None)
        with self._lock:
            mine = self._turn is turn and not turn.given_up.is_set()
            if mine:
                if self._last_hosted is not None:
                    hosted.guard.carry_on(self._last_hosted.guard)
                self._hosted = self._last_hosted = hosted
                self._is_checked = False
        if not mine:
            hosted.close()
        turn.check_held()
        return hosted

    def _learn(self, source: Source, turn: Turn, hosted: HostedAdapter) -> None:
        """Checks a new adapter: keeps what the engine is, and looks further back where its clock is behind ours."""
        info = hosted.adapter.check()
        turn.check()
        if not isinstance(info, EngineInfo):
            raise AdapterMisbehaved(f"check() gave {type(info).__name__} where an EngineInfo belongs")
        warnings = tuple(str(warning) for warning in info.warnings)
        for warning in warnings:
            if warning not in self._warned:
                log.warning("%s: %s", self.engine.name, hosted.redact(warning))
        self._warned = warnings
        if (self.engine.product, self.engine.product_version) != (info.product, info.version):
            self.engine = source.write(turn, lambda uow: _note_product(uow, source.engine, info))
        behind_s = min(0.0, hosted.guard.skew_s or 0.0)
        if behind_s < -1.0:
            hosted.context.since += timedelta(seconds=behind_s)
        self._is_checked = True

    # --- after a turn ------------------------------------------------------------------------------------------

    def _failed(self, turn: Turn, error: BaseException) -> float | None:
        if turn.given_up.is_set():
            error = TurnGivenUp(f"a poll took longer than {self._limit()}; its connections were closed")
        reaction = react(error, self.health.failures + 1, random.random())  # noqa: S311 - spreading, not secrecy
        self._meter()
        bug = error if reaction.bug else None
        self.health.failed(reaction.state, self._text(error), self._now(), bug, self._logger())
        if reaction.renew:
            closing = self._let_go(turn)
            if closing is not None:
                closing.join(LET_GO_S)
        return reaction.wait_s

    def _wait_for_threads(self) -> float:
        text = f"{self.left_behind} of its threads hang; it is polled again when one of them ends"
        self.health.failed("stopped", text, self._now(), counts=False)
        return RECHECK_S

    def _text(self, error: BaseException) -> str:
        text = words(error)
        if isinstance(error, AdapterMisbehaved):
            text = f"the adapter misbehaved: {text}"
        elif (
            not isinstance(error, AdapterError | TurnGivenUp | StoreTrouble | AdapterFault)
            and text != type(error).__name__
        ):
            text = f"{type(error).__name__}: {text}"
        hosted = self._last_hosted
        return (hosted.redact(text) if hosted is not None else text)[:1000]

    def _logger(self) -> AnyLogger:
        """One that takes the engine's secrets out of a traceback."""
        return self._last_hosted.context.log if self._last_hosted is not None else log

    def _meter(self) -> None:
        hosted = self._hosted
        if hosted is not None:
            self.health.requests = self._requests_before + hosted.guard.requests
            self.health.skew_s = hosted.guard.skew_s

    def _limit(self) -> str:
        return f"poll_deadline_s ({self.settings.poll_deadline_s:g} s)"

    # --- from outside ------------------------------------------------------------------------------------------

    @property
    def hosted(self) -> HostedAdapter | None:
        """The adapter, once it was checked; a watch follows the stream with it, too."""
        hosted = self._hosted
        return hosted if self._is_checked and hosted is not None and not hosted.is_lost else None

    def expire(self) -> None:
        """The stored cursors lead nowhere any more: the next poll begins without them."""
        self._expired = True

    def another(self) -> HostedAdapter:
        """An adapter beside the poll's, for use on another thread, under the same request budget. It is not checked."""
        hosted = self._build(self.settings, self._now(), False)
        if self._last_hosted is not None:
            hosted.guard.carry_on(self._last_hosted.guard)
        return hosted

    def source(self, hosted: HostedAdapter, health: Health | None = None) -> Source:
        """The engine as a turn needs it; what it takes in is counted for `health`, else for the poll's."""
        counted = health or self.health

        def on_page(outcome: Outcome) -> None:
            counted.took_in(outcome)
            self._progress(self.engine.name, outcome)

        return Source(
            engine=self.engine,
            settings=self.settings,
            adapter=hosted.adapter,
            rules_now=lambda: self.rules,
            store=self._store,
            now=self._now,
            fence=self._fence,
            on_page=on_page,
        )

    @property
    def left_behind(self) -> int:
        """How many of its threads hang: turns that did not end, and adapters that do not close."""
        with self._lock:
            self._left_behind = [thread for thread in self._left_behind if thread.is_alive()]
            return len(self._left_behind)

    def is_overdue(self) -> bool:
        """Whether the running turn is to be abandoned. One that is past its deadline first loses its connections."""
        turn = self._turn
        if turn is None or time.monotonic() < turn.deadline + self._grace_s:
            return False
        if turn.interrupted_at is None:
            self._interrupt(turn)
        return time.monotonic() > (turn.interrupted_at or 0.0) + LET_GO_S

    def abandon(self) -> float | None:
        """Leaves the running turn behind. Returns seconds until the next; None when no turn runs any more."""
        with self._lock:
            turn, self._turn = self._turn, None
            if turn is None:
                return None
            turn.given_up.set()
            self._left_behind.append(turn.thread)
        text = f"a poll hung beyond {self._limit()} and was abandoned"
        reaction = react(TurnGivenUp(text), self.health.failures + 1, random.random())  # noqa: S311
        if not self._closed:
            self.health.failed(reaction.state, text, self._now())
        return reaction.wait_s

    def _interrupt(self, turn: Turn) -> None:
        """Tells a turn to end, and closes its connections under it. Does not wait."""
        turn.interrupted_at = time.monotonic()
        turn.given_up.set()
        self._let_go(turn)

    def _let_go(self, turn: Turn | None) -> threading.Thread | None:
        """Closes the adapter, on a thread of its own: `close` is plugin code and may hang. Gives that thread."""
        with self._lock:
            if self._hosted is None or (self._turn is not turn and not self._closed):
                return None
            hosted, self._hosted = self._hosted, None
            self._requests_before += hosted.guard.requests
            self.health.restarts += hosted.is_lost
            closing = threading.Thread(target=hosted.close, name=f"runlink-close-{self.engine.name}", daemon=True)
            self._left_behind.append(closing)
            closing.start()
        return closing

    def close(self) -> None:
        """No more turns; tells the running one to end, which has LET_GO_S for it. Does not wait. May be repeated."""
        with self._lock:
            self._closed = True
            turn = self._turn
        if turn is not None:
            turn.deadline = time.monotonic() - self._grace_s
            self._interrupt(turn)
        else:
            self._let_go(None)

    def health_row(self) -> FeedHealthRow:
        """The health as it is stored."""
        hosted = self._hosted
        return self.health.row(self.engine.id, self.kind, hosted.process if hosted is not None else None)


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _note_product(uow: UnitOfWork, known: Engine, info: EngineInfo) -> Engine:
    engine = uow.engines.get(known.id)
    if engine is not None and engine.update_details(product=info.product, product_version=info.version):
        uow.engines.update(engine)
    return engine or known
