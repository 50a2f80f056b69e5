"""What belongs to a batch of flow runs (names, parents, states, task runs), read in few requests and made a page. The
adapter comes here.

All that is remembered between turns is a cache of what can be asked for again; losing it costs requests only.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from runlink.spi import Context, NotFound, Observation, Page, Unreadable
from runlink_prefect.rest import PAGE_ROWS, Rest, Row
from runlink_prefect.translate import Facts, has_ended, needs_history, observe
from runlink_prefect.tries import State, time_of, tries

SETTLES_IN: Final = timedelta(seconds=15)
"""How long after its end a flow run's task runs may still be written: Prefect 3 records them from events."""

TASKS_AT_ONCE: Final = 50
"""Flow runs whose task runs are asked for in one question."""

TASK_PAGES: Final = 50
"""Pages of task runs read in one turn, 200 in each; the steps of the flow runs beyond are not told."""

FIRST_STATE_READS: Final = 300
"""State histories read in a first look, one request each (the API has no other way); what has more is told without its
earlier tries."""

_KEPT: Final = 5_000

_K = TypeVar("_K")
_V = TypeVar("_V")


class _Cache(dict[_K, _V]):
    """The oldest entries leave first."""

    def keep(self, entries: Mapping[_K, _V]) -> None:
        self.update(entries)
        while len(self) > _KEPT:
            del self[next(iter(self))]


class Details:
    """Reads what a page needs beside the flow runs themselves. Used from one thread at a time."""

    def __init__(self, context: Context, rest: Rest) -> None:
        self._context = context
        self._rest = rest
        self._ui_url = _ui_url(context.url)
        self._names: _Cache[str, str] = _Cache()
        self._parents: _Cache[str, str] = _Cache()
        self._states: _Cache[str, tuple[str, list[State]]] = _Cache()
        self._ran_once: _Cache[str, bool] = _Cache()
        self._is_first = False
        self._pages_left, self._reads_left = 0, 0.0

    def begin_turn(self, *, first_look: bool = False) -> None:
        """Renews what one turn may read. A first look has too many ended runs to read the steps of each."""
        self._is_first = first_look
        self._pages_left, self._reads_left = TASK_PAGES, FIRST_STATE_READS if first_look else math.inf

    def page(
        self,
        rows: Sequence[Row],
        cursors: Mapping[str, str],
        *,
        gone: tuple[str, ...] = (),
        asked_for: bool = False,
    ) -> Page:
        """A page of these flow runs. `asked_for`: by id, so not filtered."""
        unreadable = list(self._rest.take_unreadable())
        observations: list[Observation] = []
        for facts in self._read(rows, unreadable, asked_for=asked_for):
            try:
                observations.append(observe(facts))
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
                unreadable.append(_unreadable(facts.row, error))
        unreadable += self._rest.take_unreadable()
        return Page(observations=observations, cursors=cursors, gone=gone, unreadable=tuple(unreadable))

    def left_an_end(self, runs: Iterable[str]) -> None:
        """What is remembered of their tries is out of date, which their rows need not show."""
        for run in runs:
            self._ran_once.pop(run, None)

    def _read(self, rows: Sequence[Row], unreadable: list[Unreadable], *, asked_for: bool) -> list[Facts]:
        wanted: list[tuple[Row, str]] = []
        names = self._workflows(rows)
        histories: dict[str, list[State] | None] = {}
        for row in rows:
            try:
                workflow = names.get(row["id"])
                if workflow is None:
                    raise ValueError(f"no flow has the id {row.get('flow_id')!r}")
                if asked_for or self._context.wants(workflow):
                    histories[row["id"]] = self._history(row)
                    wanted.append((row, workflow))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                unreadable.append(_unreadable(row, error))
        kept = [row for row, _ in wanted]
        parents = self._parents_of(kept)
        tasks = self._tasks([row["id"] for row in kept if not (self._is_first and has_ended(row))])
        task_states = self._task_states(tasks)
        return [
            Facts(
                row=row,
                workflow=workflow,
                parent=parents.get(row["id"]),
                states=histories[row["id"]],
                tasks=tasks.get(row["id"]),
                task_states=task_states,
                settled=self._is_settled(row),
                ui_url=self._ui_url,
            )
            for row, workflow in wanted
        ]

    def _is_settled(self, row: Row) -> bool:
        ended_at = time_of(row["state"]["timestamp"]) if has_ended(row) else None
        return ended_at is not None and self._rest.engine_now - ended_at >= SETTLES_IN

    # --- names and parents ---------------------------------------------------------------------------------------

    def _workflows(self, rows: Iterable[Row]) -> dict[str, str]:
        """Flow run to workflow. A flow keeps its name for ever, so does a deployment. Rows without a flow are left
        out."""
        pairs = {row["id"]: (row.get("flow_id"), row.get("deployment_id")) for row in rows}
        self._learn("flows", {flow for flow, _ in pairs.values() if flow})
        self._learn("deployments", {deployment for _, deployment in pairs.values() if deployment})
        named = {id_: [self._names.get(each or "") for each in pair] for id_, pair in pairs.items()}
        return {id_: "/".join(filter(None, pair)) for id_, pair in named.items() if pair[0]}

    def _learn(self, collection: str, ids: set[str]) -> None:
        unknown = sorted(ids - self._names.keys())
        if unknown:
            self._names.keep({id_: row["name"] for id_, row in self._rest.by_ids(collection, unknown).items()})

    def _parents_of(self, rows: Iterable[Row]) -> dict[str, str | None]:
        """A subflow hangs on a task run of the flow run that started it, which may be written after the subflow."""
        tasks = {row["id"]: row["parent_task_run_id"] for row in rows if row.get("parent_task_run_id")}
        unknown = sorted(set(tasks.values()) - self._parents.keys())
        if unknown:
            found = self._rest.by_ids("task_runs", unknown)
            self._parents.keep({id_: row["flow_run_id"] for id_, row in found.items() if row.get("flow_run_id")})
        return {run: self._parents.get(task) for run, task in tasks.items()}

    # --- states --------------------------------------------------------------------------------------------------

    def _history(self, row: Row) -> list[State] | None:
        """None where there is one try. A row does not show that it was cancelled before it first ran, hence the states
        of each run are read once after that; for what ended before the first look this is let be."""
        if not needs_history(row):
            is_history = self._is_first and has_ended(row)
            if row["run_count"] == 0 or row["id"] in self._ran_once or is_history:
                return None
        states = self._read_states("flow_run", row["id"], row["state_id"])
        if states is not None and len(tries(states)) == 1:
            self._ran_once.keep({row["id"]: True})
        return states

    def _task_states(self, tasks: Mapping[str, list[Row]]) -> dict[str, list[State]]:
        """Of those with more than one try. Where they could not be read, the present try is told alone."""
        found: dict[str, list[State]] = {}
        for rows in tasks.values():
            for task in rows:
                if task["run_count"] > 1:
                    found[task["id"]] = self._read_states("task_run", task["id"], task["state_id"]) or []
        return found

    def _read_states(self, kind: str, id_: str, state_id: str) -> list[State] | None:
        """Kept as long as the run is in the same state."""
        known = self._states.get(id_)
        if known is not None and known[0] == state_id:
            return known[1]
        if self._reads_left <= 0:
            return None
        self._reads_left -= 1
        try:
            states = self._rest.json(f"{kind}_states/", params={f"{kind}_id": id_})
        except NotFound:
            return None
        if not isinstance(states, list) or not states or not all(map(_is_state, states)):
            self._rest.set_aside(states, f"the states of {kind} {id_} make no sense")
            return None
        # The run may have moved on since its row was read: what came later is for the next reading.
        place = next((n for n, state in enumerate(states, 1) if state["id"] == state_id), len(states))
        self._states.keep({id_: (state_id, states[:place])})
        return states[:place]

    # --- task runs -----------------------------------------------------------------------------------------------

    def _tasks(self, runs: Sequence[str]) -> dict[str, list[Row]]:
        """Task runs by flow run; absent where they were not all read: half a list would look like the whole."""
        found: dict[str, list[Row]] = {}
        for start in range(0, len(runs), TASKS_AT_ONCE):
            some = runs[start : start + TASKS_AT_ONCE]
            rows = self._all_tasks(some)
            if rows is None:
                continue
            found.update({run: [] for run in some})
            for row in rows:
                found.setdefault(row["flow_run_id"], []).append(row)
        return found

    def _all_tasks(self, runs: Sequence[str]) -> list[Row] | None:
        question = {"flow_runs": {"id": {"any_": list(runs)}}, "sort": "EXPECTED_START_TIME_ASC"}
        found: dict[str, Row] = {}
        for offset in range(0, PAGE_ROWS * TASK_PAGES, PAGE_ROWS):
            if self._pages_left <= 0:
                return None
            self._pages_left -= 1
            rows = self._rest.rows("task_runs", question | {"offset": offset})
            found.update((row["id"], row) for row in rows)
            if len(rows) < PAGE_ROWS:
                return list(found.values())
        return None


def _ui_url(url: str) -> str | None:
    """Of a server's own interface; Prefect Cloud's is at another address."""
    return None if "/accounts/" in urlsplit(url).path else url.removesuffix("/api")


def _is_state(state: Any) -> bool:
    names = ("id", "type", "name", "timestamp", "message")
    return isinstance(state, dict) and all(name in state for name in names)


def _unreadable(row: Mapping[str, Any], error: Exception) -> Unreadable:
    return Unreadable(raw=row, reason=f"{type(error).__name__}: {error}", external_id=row.get("id"))
