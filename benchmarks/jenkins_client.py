"""runlink itself, set up to read one fake Jenkins: what `runlink sync` does, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.fake_jenkins import NOW
from runlink.application.ingest.ingest import Outcome
from runlink.bootstrap import Runlink
from runlink.daemon import EngineFeed
from runlink.daemon.turn import Source, Turn, poll_turn


@dataclass
class Client:
    """A runlink with one engine, its adapter made and checked."""

    runlink: Runlink
    feed: EngineFeed
    _source: Source

    def poll(self) -> Outcome:
        """One turn; as the feed does, the first one alone looks for steps though there is no news."""
        turn = Turn(deadline=time.monotonic() + 600, wants_steps=self._wants_steps)
        outcome = poll_turn(self._source, turn, backfill=self._backfill)
        self._wants_steps = turn.wants_steps
        return outcome

    _backfill: bool = False
    _wants_steps: bool = True
    requests: Callable[[], int] = lambda: 0


@contextmanager
def client(folder: Path, url: str, *, backfill: bool = False, now: datetime = NOW) -> Iterator[Client]:
    """A configuration, a new store, the lease, the adapter. Leaves the store's file in the folder."""
    path = folder / "runlink.toml"
    path.write_text(
        f'[store]\nurl = "sqlite:///{folder}/runlink.db"\n[engines.jenkins]\ntype = "jenkins"\nurl = "{url}"\n'
        "max_requests_per_minute = 60000\n"
    )
    runlink = Runlink.open(path, now=lambda: now)
    settings = runlink.settings.engines["jenkins"]
    try:
        with runlink.lease() as fence:
            registered = runlink.register()
            since = now - timedelta(days=3650) if backfill else now - timedelta(seconds=settings.lookback_s)
            feed = runlink.feeds(registered, fence, backfill_since=since if backfill else None)["jenkins"]
            hosted = runlink.build(settings, since, backfill)
            hosted.adapter.check()
            source = Source(
                engine=registered.engines["jenkins"],
                settings=settings,
                adapter=hosted.adapter,
                rules_now=lambda: registered.rules,
                store=runlink.store,
                now=runlink.now,
                fence=fence,
            )
            yield Client(runlink, feed, source, backfill, lambda: hosted.guard.requests)
            hosted.close()
    finally:
        runlink.close()
