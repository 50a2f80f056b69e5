"""What belongs to runs beside their rows (steps, and why they failed), and the page it makes. The adapter comes here.

All that is remembered between turns is which rows were told and whose steps were read; losing it costs requests only.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from runlink.spi import UNKNOWN, Context, Observation, Page, Unknown, Unreadable
from runlink_dagster.graphql import QueryFailed
from runlink_dagster.runs import Row, Runs
from runlink_dagster.translate import has_details, is_ended, is_failed, observe, workflow

RUNS_PER_REQUEST: Final = 20
"""Runs whose details are asked for in one request: Dagster reads the event log of each by itself."""

RUNNING_READS: Final = 60
"""Running runs whose steps are read in one turn; they take turns."""

ENDED_READS: Final = 200
"""Runs that ended well whose steps are read in one poll. The host has the rest read again if they are linked."""

_REMEMBERED: Final = 10_000


class Details:
    """Reads what a page needs beside the rows of runs. Used from one thread at a time."""

    def __init__(self, context: Context, runs: Runs) -> None:
        self._context = context
        self._runs = runs
        self._told: dict[str, float | None] = {}
        self._round: set[str] = set()
        self._is_short = False
        self._running_left, self._ended_left = RUNNING_READS, ENDED_READS

    def begin_turn(self, *, of_ended: bool = True) -> None:
        """Renews what one turn may read. A first look has too many ended runs to read the steps of each; but of those
        that failed it is always read why."""
        if not self._is_short:  # all had their turn
            self._round.clear()
        self._is_short = False
        self._running_left, self._ended_left = RUNNING_READS, ENDED_READS if of_ended else 0

    def fresh(self, rows: Iterable[Row]) -> list[Row]:
        """The rows that were not told as they are. Dagster stamps a run whenever its status or its tags change; the
        stamp may also go back, where clocks differ."""
        return [row for row in rows if not _is_told(row, self._told)]

    def forget(self) -> None:
        """What was told counts as not told."""
        self._told.clear()

    def told(self, rows: Iterable[Row]) -> None:
        """These were told and are stored."""
        for row in rows:
            if isinstance(row, Mapping) and isinstance(row.get("runId"), str):
                self._told.pop(row["runId"], None)
                self._told[row["runId"]] = row.get("updateTime")
        while len(self._told) > _REMEMBERED:
            del self._told[next(iter(self._told))]

    def page(
        self,
        rows: Sequence[Row],
        cursors: Mapping[str, str],
        *,
        gone: tuple[str, ...] = (),
        asked_for: bool = False,
    ) -> Page:
        """A page of these runs. `asked_for`: by id, so neither filtered nor, when ended, short of steps."""
        unreadable: list[Unreadable] = []
        wanted = [row for row in rows if self._is_wanted(row, unreadable, asked_for=asked_for)]
        details = self._details(wanted, asked_for=asked_for)
        observations: list[Observation] = []
        for row in wanted:
            try:
                observations.append(observe(row, details.get(row["runId"]), self._context.url))
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError) as error:
                unreadable.append(_unreadable(row, error))
        return Page(observations=observations, cursors=cursors, gone=gone, unreadable=tuple(unreadable))

    def _is_wanted(self, row: Row, unreadable: list[Unreadable], *, asked_for: bool) -> bool:
        """Whether the run is to be told. What decides how it is read is looked at here, so that it can be set aside."""
        try:
            is_ended(row)
            has_details(row)
            return (asked_for or self._context.wants(workflow(row))) and isinstance(row["runId"], str)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            unreadable.append(_unreadable(row, error))
            return False

    def _details(self, rows: Sequence[Row], *, asked_for: bool) -> dict[str, Row | Unknown]:
        """By run id. Runs whose turn it is not are absent."""
        chosen = [row for row in rows if has_details(row) and self._may_read(row, asked_for=asked_for)]
        found: dict[str, Row | Unknown] = {}
        for failed in (False, True):
            ids = [row["runId"] for row in chosen if is_failed(row) is failed]
            for some in _batches(ids):
                found.update(self._read(some, failed=failed))
        return found

    def _may_read(self, row: Row, *, asked_for: bool) -> bool:
        """Of more running runs than one turn may read, none is read twice before each was once."""
        if is_failed(row) or (asked_for and is_ended(row)):
            return True
        if is_ended(row):
            self._ended_left -= 1
            return self._ended_left >= 0
        if row["runId"] in self._round:
            return False
        if self._running_left == 0:
            self._is_short = True
            return False
        self._running_left -= 1
        self._round.add(row["runId"])
        return True

    def _read(self, run_ids: Sequence[str], *, failed: bool) -> Mapping[str, Row | Unknown]:
        """One event log that Dagster cannot read fails the whole answer: each is then asked for by itself."""
        try:
            return self._runs.details(run_ids, failed=failed)
        except QueryFailed as error:
            if len(run_ids) == 1:
                self._context.log.warning("the steps of run %s are not to be had: %s", run_ids[0], error)
                return {run_ids[0]: UNKNOWN}
        return {name: each for one in run_ids for name, each in self._read([one], failed=failed).items()}


def _is_told(row: Any, told: Mapping[str, float | None]) -> bool:
    try:
        return row["runId"] in told and told[row["runId"]] == row["updateTime"]
    except (KeyError, TypeError):
        return False


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + RUNS_PER_REQUEST] for start in range(0, len(ids), RUNS_PER_REQUEST))


def _unreadable(row: Any, error: Exception) -> Unreadable:
    name = row.get("runId") if isinstance(row, Mapping) else None
    return Unreadable(
        raw=row, reason=f"{type(error).__name__}: {error}", external_id=name if isinstance(name, str) else None
    )
