"""What belongs to a batch of DAG runs (task instances, their tries, who ended them), read in few requests and made a
page. The adapter comes here.

All that is remembered between turns is a cache of what the engine has said; losing it costs requests only.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote

from runlink.spi import UNKNOWN, Context, NotFound, Observation, Page, Unknown, Unreadable
from runlink_airflow.endings import Endings
from runlink_airflow.rest import NotPermitted, Rest, Row, run_path
from runlink_airflow.translate import (
    NEVER_BEGAN,
    TASK_STATES,
    Facts,
    Task,
    as_queued,
    identity,
    is_retrying,
    observe,
    tried_before,
)

RUNNING_READS: Final = 20
"""Running DAG runs whose task instances are read in one turn (one request each per 100); they take turns."""

ENDED_READS: Final = 100
"""Ended DAG runs whose task instances are read in one poll; a first look, which meets many, reads those of so many that
failed. The host has the rest read again if they are linked."""

TRY_READS: Final = 100
"""Task instances whose earlier tries are read in one turn, one request each."""

MOST_TASKS: Final = 2_000
"""Task instances of one run. Of a run with more the steps are told to be unknown: it would cost 20 requests a turn."""

_KEPT: Final = 5_000
_STEPS_KEPT: Final = 500
_NONSENSE: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError)

_V = TypeVar("_V")


class _Cache(dict[Any, _V]):
    """The oldest entries leave first."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def keep(self, key: Any, value: _V) -> None:
        self.pop(key, None)
        self[key] = value
        while len(self) > self._limit:
            del self[next(iter(self))]


Tasks = tuple[Sequence[Row] | Unknown, Mapping[Task, Sequence[Row]]]
"""The task instances of a run, and the tries of those that were tried before."""


class Details:
    """Reads what a page needs beside the DAG runs themselves. Used from one thread at a time."""

    def __init__(self, context: Context, rest: Rest) -> None:
        self._context = context
        self._rest = rest
        self._endings = Endings(context, rest)
        self._ended: _Cache[Tasks] = _Cache(_STEPS_KEPT)
        self._tries: _Cache[Sequence[Row]] = _Cache(_KEPT)
        self._children: _Cache[str | None] = _Cache(_KEPT)
        self._retrying: _Cache[bool] = _Cache(_KEPT)
        self._told: _Cache[str | None] = _Cache(_KEPT)
        self._telling: dict[str, str | None] = {}
        self._last_running = ""
        self._running_left = self._ended_left = self._tries_left = 0
        self._first = True

    def begin_turn(self, *, first: bool = False) -> None:
        """Renews what one turn may read. A first look has too many ended runs to read the tasks of each."""
        self._first = first
        self._running_left, self._ended_left, self._tries_left = RUNNING_READS, ENDED_READS, TRY_READS
        self._telling.clear()

    def page(
        self,
        runs: Sequence[Row],
        cursors: Mapping[str, str],
        *,
        gone: tuple[str, ...] = (),
        asked_for: bool = False,
    ) -> Page:
        """A page of these DAG runs. `asked_for`: by id, so not filtered, and with the steps of what has ended."""
        unreadable: list[Unreadable] = []
        wanted = dict(self._wanted(runs, unreadable, asked_for=asked_for))
        cancelled = self._endings.cancelled(wanted)
        tasks = self._tasks(wanted, asked_for=asked_for)
        observations: list[Observation] = []
        for name, run in wanted.items():
            read, tries = tasks.get(name, (None, {}))
            facts = Facts(
                run=run,
                url=self._context.url,
                tasks=read,
                tries=tries,
                retrying=self._retrying.get(name, False),
                cancelled=cancelled.get(name),
                parent=self._children.get((run["dag_id"], run["dag_run_id"])),
            )
            try:
                observations += self._attempts(observe(facts), run)
            except _NONSENSE as error:
                unreadable.append(Unreadable(raw=run, reason=f"{type(error).__name__}: {error}", external_id=name))
        return Page(observations=observations, cursors=cursors, gone=gone, unreadable=tuple(unreadable))

    def stored(self) -> None:
        """To be called when the host came back for more: the last page is in its store."""
        for name, queued_at in self._telling.items():
            self._told.keep(name, queued_at)
        self._telling.clear()

    def _wanted(
        self, runs: Sequence[Row], unreadable: list[Unreadable], *, asked_for: bool
    ) -> Iterator[tuple[str, Row]]:
        for run in runs:
            try:
                name, dag_id = identity(run), run["dag_id"]
            except _NONSENSE as error:
                unreadable.append(Unreadable(raw=run, reason=f"a DAG run that makes no sense: {error!r}"))
                continue
            if asked_for or self._context.wants(dag_id):
                yield name, run

    def _attempts(self, seen: Observation, run: Row) -> Iterator[Observation]:
        """A run that was queued anew since it was told last began a new attempt, though it may be over already."""
        name, queued_at = seen.external_id, run["queued_at"]
        anew = queued_at is not None and self._told.get(name) != queued_at
        if anew and not self._first and run["state"] != "queued":
            yield as_queued(seen)
        self._telling[name] = queued_at
        yield seen

    # --- task instances ------------------------------------------------------------------------------------------

    def _tasks(self, runs: Mapping[str, Row], *, asked_for: bool) -> dict[str, Tasks]:
        """By external id. Runs whose turn it is not are absent, unless theirs are known and change no more."""
        found: dict[str, Tasks] = {}
        for name in sorted(runs, key=lambda name: (name <= self._last_running, name)):
            run = runs[name]
            state = (name, run["state"], run["queued_at"], run["end_date"])
            known = self._ended.get(state)
            if known is None and self._may_read(name, run, asked_for=asked_for):
                known = self._read(name, run)
                if known is not None and run["end_date"] is not None and _settled(known):
                    self._ended.keep(state, known)
            if known is not None:
                found[name] = known
                self._retrying.keep(name, is_retrying(known[0]))
        return found

    def _may_read(self, name: str, run: Row, *, asked_for: bool) -> bool:
        if run["state"] == "queued":  # none of its tasks has begun, or begins anew before the run does
            return False
        if run["state"] != "running":
            if asked_for or (self._first and run["state"] == "success"):
                return asked_for
            self._ended_left -= 1
            return self._ended_left >= 0
        self._running_left -= 1
        if self._running_left >= 0:
            self._last_running = name
        return self._running_left >= 0

    def _read(self, name: str, run: Row) -> Tasks | None:
        """None when the run is gone meanwhile, or when it has more earlier tries than this turn may read."""
        path = f"{run_path(run['dag_id'], run['dag_run_id'])}/taskInstances"
        rows: dict[Task, Row] = {}
        try:
            for page in self._rest.pages(path, "task_instances", [("order_by", "id")]):
                if page.total > MOST_TASKS:
                    return UNKNOWN, {}
                rows.update(((row["task_id"], row["map_index"]), row) for row in page.rows)
            tries: dict[Task, Sequence[Row]] = {}
            for task, row in rows.items():
                if tried_before(row):
                    known = self._tries_of(name, path, task, row)
                    if known is None:
                        return None
                    tries[task] = known
            self._note_children(name, path, rows)
        except NotPermitted:
            return UNKNOWN, {}
        except NotFound:
            return None
        return list(rows.values()), tries

    def _tries_of(self, name: str, path: str, task: Task, row: Row) -> Sequence[Row] | None:
        """Past tries change no more, so they are read again only when there may be another one."""
        key = (name, *task, row["try_number"], row["state"] in (*NEVER_BEGAN, "up_for_retry"))
        known = self._tries.get(key)
        if known is None and self._tries_left > 0:
            self._tries_left -= 1
            index = f"/{task[1]}" if task[1] >= 0 else ""
            known = self._rest.rows(f"{path}/{quote(task[0], safe='')}{index}/tries", "task_instances")
            self._tries.keep(key, known)
        return known

    def _note_children(self, name: str, path: str, rows: Mapping[Task, Row]) -> None:
        """Which runs these tasks have triggered: the operator leaves the run's id in an XCom, and nowhere else."""
        for (task_id, map_index), row in rows.items():
            child = (row.get("rendered_fields") or {}).get("trigger_dag_id")
            done = (row["id"], "asked")
            if row.get("operator") != "TriggerDagRunOperator" or not child or done in self._children:
                continue
            if row["state"] not in ("success", "failed", "running", "deferred"):
                continue
            value = self._triggered(f"{path}/{quote(task_id, safe='')}/xcomEntries/trigger_run_id", map_index)
            if value is not None:
                self._children.keep((child, value), name)
            if value is not None or TASK_STATES[row["state"]].is_ended:
                self._children.keep(done, None)

    def _triggered(self, path: str, map_index: int) -> str | None:
        try:
            value = self._rest.get(path, [("map_index", str(map_index))], key="value")["value"]
        except (NotFound, NotPermitted):
            return None
        return value if isinstance(value, str) else None


def _settled(tasks: Tasks) -> bool:
    """Whether no task goes on after its run has ended, as teardown tasks do."""
    return not isinstance(tasks[0], Unknown) and all(
        row["state"] is None or TASK_STATES.get(row["state"]) is None or TASK_STATES[row["state"]].is_ended
        for row in tasks[0]
    )
