"""A small world to ingest into: a store, engines, rules, a clock that stands still, and all that was written."""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings

from runlink.application.ingest.decide import Read
from runlink.application.ingest.ingest import ingest
from runlink.application.linking.relink import relink
from runlink.application.policy import Policy
from runlink.application.registry import register
from runlink.application.rollup.rollup import roll_up
from runlink.application.rules.rules import Rules
from runlink.application.runs import Move, create_run, end_quiet_runs, flag_silent_runs, link, move_run, unlink
from runlink.application.settings import EngineSettings, ItemRule, LinkRule, Settings
from runlink.domain import ExecutionStatus
from runlink.spi import Observation, Page, Step
from runlink.store import tables

S = ExecutionStatus
by_chance = settings(
    max_examples=int(os.environ.get("RUNLINK_TEST_EXAMPLES", "15")),
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""How stories drawn by chance are tried out on a store; RUNLINK_TEST_EXAMPLES says how many."""
T0 = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)


def at(minutes):
    return None if minutes is None else T0 + timedelta(minutes=minutes)


class World:
    """Everything by short names: engines and automations by name, instances by external id, Runs by key."""

    def __init__(self, store) -> None:
        self.store = store
        self.now = T0
        self.engines = {}
        self.rules = Rules()
        self.configure()

    def configure(self, *rules, engines=("ci",), policy=None, policies=None, linkers=None, items=(), **engine_settings):
        self.settings = settings = Settings(
            store_url="",
            engines={
                name: EngineSettings(name=name, type="Test", url=f"http://{name}", **engine_settings)
                for name in engines
            },
            links=tuple(LinkRule(**({"name": f"rule{n}"} | rule)) for n, rule in enumerate(rules)),
            automations=policies or ({} if policy is None else {"nightly": Policy(**policy)}),
            items=tuple(ItemRule(**({"name": f"items{n}"} | rule)) for n, rule in enumerate(items)),
        )
        registered = self.store.write(lambda uow: register(uow, settings, linkers), actor="cli:test")
        self.engines, self.rules = registered.engines, registered.rules
        return registered

    # --- what engines tell ------------------------------------------------------------------------------------------

    def page(self, *observations, **page):
        return Page(observations=observations, **page)

    def see(self, *observations, engine="ci", began=None, page=None, **read):
        """One page, read at `began` (minutes; now when left out). Takes a minute of the clock."""
        self.now += timedelta(minutes=1)
        began_at = self.now if began is None else at(began)
        given = Page(observations=observations, **(page or {}))
        how = Read(**({"feed": "poll", "began_at": began_at} | read))
        return self.store.write(
            lambda uow: ingest(uow, self.rules, self.engines[engine], given, how, self.now), actor=f"engine:{engine}"
        )

    def gone(self, *names, **read):
        return self.see(page={"gone": names}, **read)

    def push(self, *observations, **read):
        return self.see(*observations, **({"feed": "receive", "authoritative": False} | read))

    # --- what people do ---------------------------------------------------------------------------------------------

    def automation(self, name="nightly"):
        return self.rules.automations[name]

    def run(self, key=None, automation="nightly"):
        return self.store.write(
            lambda uow: create_run(uow, self.rules, self.automation(automation), correlation_id=key, now=self.now),
            actor="cli:me",
        )

    def link(self, run, external_id, engine="ci"):
        instance_id = self.instance(external_id, engine).id
        return self.store.write(lambda uow: link(uow, self.rules, run.id, instance_id, now=self.now), actor="cli:me")

    def unlink(self, run, external_id, engine="ci"):
        instance_id = self.instance(external_id, engine).id
        return self.store.write(lambda uow: unlink(uow, self.rules, run.id, instance_id, now=self.now), actor="cli:me")

    def move(self, run, move, reason=None):
        return self.store.write(
            lambda uow: move_run(uow, self.rules, run.id, Move(move), reason=reason, now=self.now), actor="cli:me"
        )

    def silence(self, minutes):
        self.now += timedelta(minutes=minutes)
        return self.store.write(lambda uow: flag_silent_runs(uow, self.rules, self.now), actor="daemon")

    def relink(self, **how):
        """The rules as they are now, over everything stored."""
        if how.pop("dry_run", False):
            how["trial"] = {engine.id: engine for engine in self.engines.values()}
        return relink(self.store, self.rules, **({"actor": "cli:me", "now": lambda: self.now} | how))

    def quiet(self, minutes=60):
        self.now += timedelta(minutes=minutes)
        return self.store.write(lambda uow: end_quiet_runs(uow, self.rules, self.now), actor="daemon")

    def roll_up(self, *runs):
        return self.store.write(lambda uow: roll_up(uow, self.rules, [r.id for r in runs], self.now), actor="daemon")

    # --- what is known ----------------------------------------------------------------------------------------------

    def rows(self, table, *order):
        columns = [table.c[name] for name in order] or list(table.primary_key)
        with self.store.reading() as uow:
            return [row._asdict() for row in uow.connection.execute(sa.select(table).order_by(*columns))]

    def instance(self, external_id, engine="ci"):
        with self.store.reading() as uow:
            found = uow.orchestration_instances.list(
                engine_id=self.engines[engine].id, external_id=external_id, include_inactive=True
            )
        return found[0] if found else None

    def bookkeeping(self, external_id):
        (row,) = (r for r in self.rows(tables.orchestration_instances) if r["external_id"] == external_id)
        return row

    def attempts(self, external_id):
        mine = self.instance(external_id).id
        rows = self.rows(tables.instance_attempts, "number")
        return [(row["number"], row["status"]) for row in rows if row["instance_id"] == mine]

    def steps(self, external_id):
        mine = self.instance(external_id).id
        rows = self.rows(tables.instance_steps, "external_id", "attempt")
        return [(row["external_id"], row["attempt"], row["status"]) for row in rows if row["instance_id"] == mine]

    def history(self, external_id):
        mine = self.instance(external_id).id
        return [row for row in self.rows(tables.observations, "id") if row["instance_id"] == mine]

    def items(self, run=None):
        """(batch, number, status, attempts) of each active item execution, in order."""
        with self.store.reading() as uow:
            rows = uow.reports.item_executions(run_id=run and run.id, limit=100_000)
        return sorted((r["batch"], r["sequence_number"], r["status"], r["attempt_count"]) for r in rows)

    def batches(self, run=None):
        """batch -> status of its execution."""
        with self.store.reading() as uow:
            rows = uow.reports.batch_executions(run_id=run and run.id, limit=1000)
        return {row["batch"]: row["status"] for row in rows}

    def item_history(self, number):
        """(status, minute) of each change of the active execution of the item with this number."""
        with self.store.reading() as uow:
            (row,) = (r for r in uow.reports.item_executions(limit=100_000) if r["sequence_number"] == number)
            history = uow.item_state_history.list(item_execution_id=row["id"], limit=1000)
        return [(one.new_status.value, (one.changed_at - T0).total_seconds() / 60) for one in history]

    def fetch(self, run):
        with self.store.reading() as uow:
            return uow.runs.get(run.id)

    def runs(self):
        with self.store.reading() as uow:
            return {run.correlation_id: run for run in uow.runs.list(limit=1000)}

    def links(self, external_id, engine="ci"):
        """The keys of the Runs it counts for, in order."""
        with self.store.reading() as uow:
            mine = uow.run_orchestrations.list(orchestration_instance_id=self.instance(external_id, engine).id)
            return sorted(str(uow.runs.get(one.run_id).correlation_id) for one in mine)

    def events(self, *prefixes):
        with self.store.reading() as uow:
            types = [event["type"] for event in uow.reports.events(limit=10_000)]
        return [type_ for type_ in types if not prefixes or type_.startswith(prefixes)]

    def cursors(self, feed="poll", engine="ci"):
        with self.store.reading() as uow:
            return uow.ledger.cursors(self.engines[engine].id, feed)

    def quarantine(self):
        with self.store.reading() as uow:
            return uow.reports.quarantine()

    def everything(self):
        """All rows of all tables but for the times of writing."""
        return {table.name: self.rows(table) for table in tables.metadata.sorted_tables}


@pytest.fixture
def world(store):
    return World(store)


@pytest.fixture
def see_rows(store):
    """see_rows(): how many rows were written since the last call, counted by the driver."""
    counted = [0]

    def after(_connection, cursor, statement, *_):
        verb = statement.lstrip().split(None, 1)[0].upper()
        if verb in ("INSERT", "UPDATE", "DELETE", "COPY"):
            counted[0] += max(cursor.rowcount, 0)

    sa.event.listen(store.writing, "after_cursor_execute", after)

    def read():
        rows, counted[0] = counted[0], 0
        return rows

    yield read
    sa.event.remove(store.writing, "after_cursor_execute", after)


@pytest.fixture
def count_statements(store):
    """with count_statements() as seen: …: the statements that went to the driver, COPY not among them."""

    @contextmanager
    def counting():
        seen = []

        def before(_connection, _cursor, statement, *_):
            seen.append(statement)

        sa.event.listen(store.writing, "before_cursor_execute", before)
        yield seen
        sa.event.remove(store.writing, "before_cursor_execute", before)

    return counting


@pytest.fixture
def build():
    """build("1", "COMPLETED", start=0, end=5, …): an observation; times in minutes."""

    def make(
        external_id, status="PROCESSING", *, queued=None, start=None, end=None, workflow="app", run=None, **fields
    ):
        values = {
            "external_id": external_id,
            "workflow": workflow,
            "status": S(status),
            "native_status": status.lower(),
            "created_at": at(queued),
            "started_at": at(start),
            "finished_at": at(end),
        }
        if run is not None:
            values["parameters"] = {"RUN_ID": run}
        return Observation(**(values | fields))

    return make


@pytest.fixture
def step():
    """step("square[2]", "COMPLETED", 1, start=0, end=5, …): a step; times in minutes. Its id is its name."""

    def make(name, status="PROCESSING", attempt=1, *, start=None, end=None, **fields):
        values = {
            "external_id": name,
            "name": name,
            "status": S(status),
            "native_status": status.lower(),
            "attempt": attempt,
            "started_at": at(start),
            "finished_at": at(end),
        }
        return Step(**(values | fields))

    return make


@pytest.fixture
def minute():
    return at


BY_KEY = {"automation": "nightly", "run_key": "parameters.RUN_ID"}


@pytest.fixture
def by_key(world):
    """by_key(create_run=True, …): one rule that finds the Run by a parameter, and then the rules given.

    `policy` is that of the Run's automation.
    """

    def configure(*more, engines=("ci",), policy=None, **rule):
        return world.configure(BY_KEY | rule, *more, engines=engines, policy=policy)

    return configure
