"""Connections that are kept: those that died meanwhile, and those on which nothing is begun."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa
from tests.engines.puppets import until

from runlink.domain import Engine
from runlink.store import liveness


def add(store, name):
    store.write(lambda uow: uow.engines.add(Engine(name=name, type="x")), actor="a")


def names(store):
    with store.glance() as uow:
        return sorted(row.name for row in uow.listings.page("engines", {}))


def end_all(store):
    """As a server that is started anew, or an operator; the connections of the pools do not know it yet."""
    url = store.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as admin:
        mine = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        ended = admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}").fetchall()
        until(
            lambda: admin.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {mine}").fetchone() == (0,),
            "the end of all connections",
        )
    return len(ended)


@pytest.mark.parametrize("kind", ["postgresql"])
@pytest.mark.parametrize("trusted_s", [0.0, 60.0], ids=["idle", "just used"])
def test_connections_that_the_server_ended_are_replaced_before_anybody_uses_them(store, monkeypatch, trusted_s):
    monkeypatch.setattr(liveness, "TRUSTED_S", trusted_s)
    add(store, "before")
    assert names(store) == ["before"]
    assert end_all(store) >= 2
    assert names(store) == ["before"]
    add(store, "after")
    with store.reading() as uow:
        assert len(uow.engines.list(limit=10)) == 2


def test_a_glance_sees_what_is_committed_at_each_statement(store):
    with store.glance() as uow:
        assert list(uow.listings.page("engines", {})) == []
        add(store, "meanwhile")
        assert [row.name for row in uow.listings.page("engines", {})] == ["meanwhile"]


def test_a_reading_sees_one_moment(store):
    with store.reading() as uow:
        assert list(uow.listings.page("engines", {})) == []
        add(store, "meanwhile")
        assert list(uow.listings.page("engines", {})) == []
    assert names(store) == ["meanwhile"]


@pytest.mark.parametrize("way", ["glance", "reading"])
def test_nothing_is_written_by_who_only_looks(store, way):
    add(store, "one")
    with pytest.raises(sa.exc.DBAPIError), getattr(store, way)() as uow:
        uow.connection.exec_driver_sql("DELETE FROM engines")
    assert names(store) == ["one"]
    add(store, "two")
    assert names(store) == ["one", "two"]
