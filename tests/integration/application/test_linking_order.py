"""Whoever is seen first, and whenever Runs are made: the links are the same. Several engines, all kinds of rules."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runlink.application.settings import KeyTemplate, ParentRule
from runlink.domain import ExecutionStatus, new_id
from runlink.spi import Observation
from runlink.store import tables

from .conftest import World, at, by_chance

ENGINES = ("ci", "argo", "airflow")
RUNS = ("r1", "r2", "r3")


def rules(automation):
    key = {"automation": automation, "run_key": ("parameters.RUN_ID", KeyTemplate(template="r{labels.day}"))}
    return (
        key | {"engine": "ci", "workflow": "main", "create_run": True, "name": "makes"},
        key | {"name": "waits", "workflow": ("main", "part")},
        {"name": "parent", "inherit": "parent", "engine": ("ci", "argo")},
        {"name": "address", "parent": ParentRule(engine="ci", match="parameters.FROM", other="url")},
        {"name": "started", "engine": "argo", "parent": ParentRule(match="external_id", other="metadata.started")},
        {"name": "token", "engine": "airflow", "parent": ParentRule(match="labels.token", other="labels.gives")},
    )


@st.composite
def instances(draw):
    """(engine, observation): up to six, any of which may point at any other, circles included."""
    count = draw(st.integers(2, 6))
    names = [(draw(st.sampled_from(ENGINES)), f"i{n}") for n in range(count)]
    found = []
    for engine, name in names:
        parameters, labels, metadata = {}, {}, {}
        if draw(st.booleans()):
            parameters["RUN_ID"] = draw(st.sampled_from([*RUNS, "none"]))
        elif draw(st.booleans()):
            labels["day"] = draw(st.sampled_from("123"))
        other = draw(st.sampled_from(names))
        way = draw(st.sampled_from(["none", "parent", "address", "started", "token"]))
        if way == "address":
            parameters["FROM"] = f"HTTP://{other[0]}:80/{other[1]}/"
        elif way == "started":
            metadata["started"] = [other[1]]
        elif way == "token":
            labels["token"] = draw(st.sampled_from("xy"))
        labels["gives"] = draw(st.sampled_from("xyz"))
        found.append(
            (
                engine,
                Observation(
                    external_id=name,
                    workflow=draw(st.sampled_from(["main", "part", "else"])),
                    status=ExecutionStatus.PROCESSING,
                    native_status="RUNNING",
                    started_at=at(0),
                    url=f"http://{engine}/{name}",
                    parent=other[1] if way == "parent" else None,
                    parameters=parameters,
                    labels=labels,
                    metadata=metadata,
                ),
            )
        )
    return found


def links(world, automation):
    with world.store.reading() as uow:
        mine = {
            run.id: run.correlation_id for run in uow.runs.list(limit=1000, automation_id=world.automation(automation))
        }
    engines = {engine.id: name.partition("-")[0] for name, engine in world.engines.items()}
    names = {
        row["id"]: (engines.get(row["engine_id"]), row["external_id"])
        for row in world.rows(tables.orchestration_instances)
    }
    rows = world.rows(tables.run_orchestrations)
    return sorted((*names[r["orchestration_instance_id"]], mine[r["run_id"]]) for r in rows if r["run_id"] in mine)


def deliver(world, automation, told, suffix):
    """Steps are pages of one engine each, or Runs made by hand."""
    names = tuple(f"{engine}-{suffix}" for engine in ENGINES)
    world.configure(*(renamed(rule, suffix) for rule in rules(automation)), engines=names)
    for step in told:
        if isinstance(step, str):
            known = {run.correlation_id for run in runs_of(world, automation)}
            if step not in known:
                world.run(step, automation)
        else:
            engine, observations = step
            world.see(*observations, engine=f"{engine}-{suffix}")
    return links(world, automation)


def renamed(rule, suffix):
    """The rule for engines of this example alone."""

    def pattern(given):
        return tuple(
            f"{one}-{suffix}" if one in ENGINES else f"*-{suffix}"
            for one in (given if isinstance(given, tuple) else (given,))
        )

    rule = rule | {"engine": pattern(rule.get("engine", "*"))}
    parent = rule.get("parent")
    if parent is not None:
        rule["parent"] = ParentRule(match=parent.match, other=parent.other, engine=pattern(parent.engine))
    return rule


def runs_of(world, automation):
    with world.store.reading() as uow:
        return uow.runs.list(limit=1000, automation_id=world.automation(automation))


@given(seen=instances(), made=st.sets(st.sampled_from(RUNS)), data=st.data())
@by_chance
def test_links_do_not_depend_on_who_is_seen_first(store, seen, made, data):
    world = World(store)
    suffix = new_id().hex
    plain = [*sorted(made), *((engine, [one]) for engine, one in seen)]
    expected = deliver(world, f"plain-{suffix}", plain, f"p{suffix}")
    for turn in range(2):
        steps = data.draw(st.permutations(plain))
        if data.draw(st.booleans()):
            steps = together(steps)
        assert deliver(world, f"other{turn}-{suffix}", steps, f"o{turn}{suffix}") == expected
        before = links(world, f"other{turn}-{suffix}")
        world.relink(page_size=data.draw(st.integers(1, 4)))
        assert links(world, f"other{turn}-{suffix}") == before


def together(steps):
    """Neighbours of one engine in one page."""
    found = []
    for step in steps:
        if found and not isinstance(step, str) and not isinstance(found[-1], str) and found[-1][0] == step[0]:
            found[-1] = (step[0], [*found[-1][1], *step[1]])
        else:
            found.append(step)
    return found


@given(seen=instances(), data=st.data())
@by_chance
def test_what_a_dry_run_says_is_what_relink_then_does(store, seen, data):
    world, suffix = World(store), new_id().hex
    names = tuple(f"{engine}-{suffix}" for engine in ENGINES)
    every = [renamed(rule, suffix) for rule in rules(f"a-{suffix}")]
    choose = st.lists(st.sampled_from(range(len(every))), unique=True, min_size=1).map(sorted)
    world.configure(*(every[n] for n in data.draw(choose)), engines=names)
    for engine, one in seen:
        world.see(one, engine=f"{engine}-{suffix}")
    world.configure(*(every[n] for n in data.draw(choose)), engines=names)
    before = world.everything()
    would = world.relink(dry_run=True)
    assert world.everything() == before
    done = world.relink()
    for told in ("instances", "matched", "linked", "unlinked", "made", "failed", "runs_touched"):
        assert getattr(would, told) == getattr(done, told), told
