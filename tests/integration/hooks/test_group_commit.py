"""Deliveries that arrive together are committed together; none waits for long, and none for ever."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
import pytest
import sqlalchemy as sa

from runlink.application.registry import register
from runlink.application.rows import DeliveryRow
from runlink.application.settings import EngineSettings, Settings
from runlink.domain import new_id
from runlink.http import group_commit
from runlink.http.group_commit import GroupCommit
from runlink.http.problems import Problem

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Intake:
    """A GroupCommit on a store with one engine."""

    def __init__(self, store):
        self.store = store
        settings = Settings(store_url="", engines={"ci": EngineSettings(name="ci", type="test")})
        self.engine = store.write(lambda uow: register(uow, settings), actor="config").engines["ci"]
        self.commits = 0
        sa.event.listen(store.writing, "commit", self._count)

    def _count(self, _connection):
        self.commits += 1

    def row(self, delivery_id=None, body=b"{}"):
        name = delivery_id or str(new_id())
        return DeliveryRow(new_id(), self.engine.id, name, NOW, "/hooks/ci", [], body, False)

    def run(self, story, *, store_s=10.0):
        async def whole():
            writes = GroupCommit(self.store, store_s)
            try:
                return await story(writes)
            finally:
                await writes.close()

        return asyncio.run(whole())

    def count(self):
        with self.store.reading() as uow:
            return len(uow.deliveries.list(limit=10_000))


@pytest.fixture
def intake(store):
    return Intake(store)


async def together(writes, rows):
    return await asyncio.gather(*(writes.put(row) for row in rows))


def test_what_comes_while_another_is_written_shares_the_next_transaction(intake):
    async def story(writes):
        return await together(writes, [intake.row() for _ in range(50)])

    assert intake.run(story) == [True] * 50
    assert intake.count() == 50
    assert intake.commits == 2


def test_as_many_as_were_on_their_way_are_waited_for(intake, monkeypatch):
    async def story(writes):
        await together(writes, [intake.row() for _ in range(20)])  # one alone, then 19
        monkeypatch.setattr(group_commit, "GATHER_S", 60.0)
        early = asyncio.gather(*(writes.put(intake.row()) for _ in range(10)))
        for _ in range(3):
            await asyncio.sleep(0)
        assert intake.commits == 2
        await together(writes, [intake.row() for _ in range(9)])
        await early
        return intake.commits

    assert intake.run(story) == 3


def test_those_who_do_not_come_are_waited_for_but_a_moment(intake):
    async def story(writes):
        await together(writes, [intake.row() for _ in range(20)])
        return await writes.put(intake.row()), await writes.put(intake.row())

    assert intake.run(story) == (True, True)
    assert intake.commits == 4


def test_one_that_is_known_is_not_new_also_within_one_transaction(intake):
    async def story(writes):
        await writes.put(intake.row("old"))
        return await together(writes, [intake.row(name) for name in ("old", "new", "new", "other")])

    old, *new, other = intake.run(story)
    assert (old, sorted(new), other) == (False, [False, True], True)
    assert intake.count() == 3


def test_close_waits_for_what_waits(intake, monkeypatch):
    async def story(writes):
        await together(writes, [intake.row() for _ in range(5)])
        monkeypatch.setattr(group_commit, "GATHER_S", 60.0)
        waiting = asyncio.ensure_future(writes.put(intake.row()))
        await asyncio.sleep(0)
        await writes.close()
        return await waiting

    assert intake.run(story)
    assert intake.count() == 6


def test_a_store_that_takes_long_is_not_waited_for(intake):
    """What waits is told to come again, all of it; what was handed over may be kept after all, the rest is not."""

    async def story(writes):
        with _held(intake.store):
            first = asyncio.ensure_future(writes.put(intake.row("first")))
            later = [asyncio.ensure_future(writes.put(intake.row(str(n)))) for n in range(5)]
            refused = await asyncio.gather(first, *later, return_exceptions=True)
        kept = await writes.put(intake.row("last"))
        return refused, kept

    refused, kept = intake.run(story, store_s=2.0)
    assert [(type(one), one.status) for one in refused] == [(Problem, 503)] * 6
    assert kept
    with intake.store.reading() as uow:
        assert {row["external_id"] for row in uow.deliveries.list(limit=10)} - {"first"} == {"last"}


def test_too_much_is_not_taken(intake, monkeypatch):
    monkeypatch.setattr(group_commit, "MAX_WAITING_BYTES", 1000)

    async def story(writes):
        told = await asyncio.gather(
            *(writes.put(intake.row(body=b"x" * 300)) for _ in range(5)), return_exceptions=True
        )
        return told, await writes.put(intake.row(body=b"x" * 900))

    told, after = intake.run(story)
    assert [one if one is True else one.status for one in told] == [True] * 3 + [503] * 2
    assert after


@contextmanager
def _held(store):
    """Another program holds the file, or the table."""
    if store.url.get_backend_name() == "sqlite":
        other = sqlite3.connect(store.url.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
    else:
        other = psycopg.connect(store.url.set(drivername="postgresql").render_as_string(False))
        other.execute("LOCK TABLE deliveries")
    try:
        yield
    finally:
        other.rollback()
        other.close()
