"""What one poll asks, in which order. The adapter comes here.

A poll asks for the events since the last one; the flow runs that they name are read again by id. Every few minutes, and
at each poll of a server that keeps no events, everything open and everything that ended lately is listed as well.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from runlink.spi import Context, CursorExpired, NotFound, TransientError
from runlink_prefect.details import SETTLES_IN, Details
from runlink_prefect.events import Event
from runlink_prefect.place import OVERLAP, Place, tail
from runlink_prefect.rest import Rest, Row
from runlink_prefect.translate import has_ended, is_ahead_of_time
from runlink_prefect.tries import TERMINAL, time_of

AT_ONCE: Final = 100
"""Flow runs read again in one question, and told in one page."""

SILENCE: Final = timedelta(seconds=60)
"""How long a start may be without its event before events are taken to be off."""

SWEEP_EVERY: Final = timedelta(minutes=5)
"""How often all is listed that events should have named: a server that is killed loses those of its last seconds."""

_FAR: Final = datetime.fromisoformat("9999-01-01T00:00:00+00:00")

Batch = tuple[list[Row], Place]
"""Flow runs, and the place that is reached once they and all before are stored."""


class Polling:
    """The questions of a poll. Used from one thread at a time."""

    def __init__(self, context: Context, rest: Rest, details: Details) -> None:
        self._context = context
        self._rest = rest
        self._details = details
        self._warned = False

    # --- the first look ------------------------------------------------------------------------------------------

    def first_look(self, place: Place | None) -> Iterator[Batch]:
        """Everything open, and what ended in the look-back window, the latest first. Goes on where a crash ended it."""
        if place is None:
            place = self._place_now()
        for rows in self._open():
            yield rows, place
        start = None if place.before in (None, _FAR) else place.before
        for rows in self._ended(self._context.since, before=start):
            place = replace(place, before=time_of(rows[-1]["end_time"]))
            yield rows, place
        yield [], replace(place, before=None)

    def _place_now(self) -> Place:
        """Taken before the first row is read: what happens from here on is for the next poll."""
        try:
            event = self._rest.newest_event()
        except NotFound:
            event = None
        now = self._rest.engine_now
        if event is None:
            return Place(since=now, swept=now, before=_FAR)
        return Place(since=event.occurred, swept=now, before=_FAR).saw([event])

    def _open(self) -> Iterator[list[Row]]:
        filters = {"state": {"type": {"not_any_": sorted(TERMINAL)}}}  # also of a type that a later release brings
        for rows in self._rest.flow_runs(filters, "expected_start_time", "after_", "EXPECTED_START_TIME_ASC"):
            yield [row for row in rows if not is_ahead_of_time(row)]

    def _ended(self, since: datetime, before: datetime | None = None) -> Iterator[list[Row]]:
        """The latest first. By `end_time`, which a run that was marked as ended otherwise by hand keeps."""
        filters = {"end_time": {"after_": since.isoformat()}}
        start = None if before is None else before.isoformat()
        yield from self._rest.flow_runs(filters, "end_time", "before_", "END_TIME_DESC", start)

    # --- from then on --------------------------------------------------------------------------------------------

    def changes(self, place: Place) -> Iterator[Batch]:
        """What events name, what has lately ended, and now and then all that is open or has ended.

        Raises CursorExpired when the last known event is not there any more.
        """
        start, met, runs = place, set[str](), dict[str, None]()
        for events in self._events(place):
            met.update(tail(event.id) for event in events)
            if any(event.occurred > start.since for event in events):
                _check_place(start, met)
            runs |= self._touched(events, place)
            place = place.saw(events)
            if len(runs) >= AT_ONCE:  # all of them: the place that goes with them has their events
                rows, place = self._read([*runs], place)
                yield rows, place
                runs.clear()
        _check_place(start, met)
        rows, place = self._read([*runs], place)
        due, place = self._read_again([run for run in place.again if run not in runs], place)
        yield rows + due, place
        silent = not met - start.told.keys() and (place.silent or self.is_silent_since(place.since))
        if silent or place.silent or self._rest.engine_now - place.swept >= SWEEP_EVERY:
            yield from self._sweep(replace(place, silent=silent))

    def _events(self, place: Place) -> Iterator[list[Event]]:
        try:
            yield from self._rest.events(place.since - OVERLAP)
        except NotFound as error:
            if place.last is not None:
                raise TransientError(f"{error}, and has answered before") from error

    def _touched(self, events: Iterable[Event], place: Place) -> dict[str, None]:
        news = [event for event in events if not place.heard_of(event.id)]
        self._details.left_an_end(event.run for event in news if event.leaves_an_end)
        return {event.run: None for event in news}

    def _read(self, runs: Sequence[str], place: Place) -> Batch:
        """Those that are still there; those among them that have ended will be read again for a while."""
        rows = [row for row in self._rest.by_ids("flow_runs", runs).values() if not is_ahead_of_time(row)]
        return rows, self._settling(place, rows)

    def _settling(self, place: Place, rows: Iterable[Row]) -> Place:
        until = self._context.now() + SETTLES_IN + timedelta(seconds=3)  # the engine's `Date` counts whole seconds
        return replace(place, again={**place.again, **{row["id"]: until for row in rows if has_ended(row)}})

    def _read_again(self, runs: Sequence[str], place: Place) -> Batch:
        if not runs:
            return [], place
        now = self._context.now()
        rows = list(self._rest.by_ids("flow_runs", runs).values())
        over = {run for run in runs if place.again[run] <= now}
        return rows, replace(place, again={run: until for run, until in place.again.items() if run not in over})

    # --- with or without events ------------------------------------------------------------------------------------

    def is_silent_since(self, since: datetime) -> bool:
        """Whether a flow run has started since, and its event is overdue."""
        filters = {"start_time": {"after_": (since + SILENCE).isoformat()}}
        rows = self._rest.rows("flow_runs", {"flow_runs": filters, "sort": "START_TIME_ASC", "limit": 1})
        started = time_of(rows[0]["start_time"]) if rows else None
        return started is not None and started < self._rest.engine_now - SILENCE

    def _sweep(self, place: Place) -> Iterator[Batch]:
        """All that is open, and the ends since the last sweep."""
        if place.silent and not self._warned:
            self._context.log.warning("Prefect keeps no events: all that is open or has ended is listed at each poll")
        self._warned = place.silent
        began, ends = self._rest.engine_now, dict[str, datetime]()
        for rows in self._open():
            yield rows, place
        for rows in self._ended(place.swept - OVERLAP):
            news = [row for row in rows if not place.heard_of(row["state_id"])]
            ends |= {row["state_id"]: time_of(row["end_time"]) or began for row in rows}
            place = self._settling(place, news) if place.silent else place
            yield news, place
        yield [], place.swept_at(began, ends)


def _check_place(place: Place, met: set[str]) -> None:
    if place.last is not None and place.last not in met:
        raise CursorExpired("the last known event is not there any more: Prefect purged its events, or was reset")
