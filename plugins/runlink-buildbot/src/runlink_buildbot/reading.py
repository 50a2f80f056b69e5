"""One reader of a master's build requests: what a poll asks, what a refetch asks, and the pages they make.

`adapter` has one for polls and one for the watch, because each is used from a thread of its own. A poll asks three
questions: which ids are new, which are open, which have ended lately. Each catches what another may miss (a late
commit, a clock set back, a run shorter than the interval). What they find is read as a whole: builds, origin and steps.
"""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

from runlink.spi import Context, CursorExpired, Cursors, NotFound, Page, TransientError
from runlink_buildbot.details import Details
from runlink_buildbot.place import OVERLAP_S, PARTITION, Ends, Place
from runlink_buildbot.rest import Filter, Rest, Row
from runlink_buildbot.translate import external_id, parse_external_id

PAGE_REQUESTS: Final = 200
"""Build requests told in one page."""

REFETCH_REQUESTS: Final = 50
"""Build requests told in one page of a refetch, which reads the steps of all of them."""

_PROPERTIES: Final = (("property", "*"),)

Batch = tuple[list[Row], Place]
"""Build requests, and the place that is reached once they and all before are stored."""


class Reader:
    """Used from one thread at a time."""

    def __init__(self, context: Context, rest: Rest) -> None:
        self._context = context
        self._rest = rest
        self._details = Details(context, rest)

    def poll(self, cursors: Cursors) -> Iterator[Page]:
        """Nothing new, nothing open: three requests and no page.

        Raises CursorExpired when the master's database was reset or restored from an older copy.
        """
        stored = cursors.get(PARTITION)
        place = Place.load(stored) if stored else None
        first = place is None or place.after is not None
        self._details.begin_turn(steps_of_ended=not first)
        batches = self._first_look(place) if place is None or first else self._since(place)
        yield from self._tell(batches, stored)

    def _first_look(self, place: Place | None) -> Iterator[Batch]:
        """Everything open, and what ended in the look-back window. Goes on where a crash ended it."""
        since = int(self._context.since.timestamp())
        if place is None:
            newest = self._rest.rows("buildrequests", [("order", "-buildrequestid"), ("limit", "1")])
            head, head_at = _anchor(newest) or (0, 0)
            # `since` is the host's time: where its clock runs ahead, the newest request's own time is the safer start.
            place = Place(head=head, head_at=head_at, ended=min(since, head_at or since), after=0)
        for rows in self._requests(Filter("complete", "eq", value=False)):
            yield rows, place
        ends = Ends(place)
        for rows in self._requests(Filter("complete_at", "ge", since), after=place.after or 0):
            ends.saw(_ends(rows))
            place = dataclasses.replace(place, ended=ends.latest(), told=ends.told(), after=rows[-1]["buildrequestid"])
            yield rows, place
        yield [], dataclasses.replace(place, after=None)

    def _since(self, place: Place) -> Iterator[Batch]:
        """The order matters: a request that ends between two questions is met by the later one, or by the next poll."""
        known = set(place.told)
        for rows, reached in self._new(place):
            place = reached
            known.update(_ends(rows))
            yield rows, place
        for rows in self._requests(Filter("complete", "eq", value=False)):
            yield rows, place
        ends = Ends(place)
        for rows in self._requests(Filter("complete_at", "ge", place.ended - OVERLAP_S)):
            ends.saw(_ends(rows))
            yield [row for row in rows if row["buildrequestid"] not in known], place
        yield [], dataclasses.replace(place, ended=ends.latest(), told=ends.told())

    def _new(self, place: Place) -> Iterator[Batch]:
        """Asks from the last known id on, that one included: if it is not the first to come back, ids began again."""
        known = (place.head, place.head_at) if place.head else None
        for page in self._requests(after=place.head - 1 if known else 0):
            rows = page
            if known is not None:
                if _anchor(rows[:1]) != known:
                    break
                rows, known = rows[1:], None
            if rows:
                head, head_at = _anchor(rows) or (place.head, place.head_at)
                place = dataclasses.replace(place, head=head, head_at=head_at)
                yield rows, place
        if known is not None:
            raise CursorExpired(
                f"build request {known[0]} is not the one it was: Buildbot's database was reset or restored; "
                "all is read anew"
            )

    def _requests(self, *filters: Filter, after: int = 0) -> Iterator[list[Row]]:
        return self._rest.pages("buildrequests", "buildrequestid", filters, after=after, extra=_PROPERTIES)

    def _tell(self, batches: Iterable[Batch], stored: str | None) -> Iterator[Page]:
        """Gathers small batches into one page, so that the details of all are read in the same few requests."""
        waiting: dict[int, Row] = {}
        place: Place | None = None
        for rows, place in batches:
            waiting.update((row["buildrequestid"], row) for row in rows)
            if len(waiting) >= PAGE_REQUESTS:
                stored = place.dump()
                yield self._details.page(list(waiting.values()), {PARTITION: stored})
                waiting.clear()
        cursors = {} if place is None or place.dump() == stored else {PARTITION: place.dump()}
        page = self._details.page(list(waiting.values()), cursors)
        if page.observations or page.cursors or page.unreadable:
            yield page

    def now(self, requests: Collection[int]) -> Page | None:
        """The present state of these build requests, as a poll would tell it; None when there is nothing to tell."""
        self._details.begin_turn()
        rows = self._rest.by_ids("buildrequests", "buildrequestid", "buildrequestid", requests, extra=_PROPERTIES)
        page = self._details.page(rows, {})
        return page if page.observations or page.unreadable else None

    def requests_of(self, builds: Collection[int]) -> dict[int, int]:
        """Build id -> the id of its build request."""
        rows = self._rest.by_ids("builds", "buildid", "buildid", builds)
        return {row["buildid"]: row["buildrequestid"] for row in rows}

    def refetch(self, external_ids: Sequence[str]) -> Iterator[Page]:
        """The present state with the steps of every try. An id of another database, or of no database, is gone."""
        self._details.begin_turn()
        for start in range(0, len(external_ids), REFETCH_REQUESTS):
            asked = external_ids[start : start + REFETCH_REQUESTS]
            parsed = [pair[0] for pair in map(parse_external_id, asked) if pair is not None]
            rows = self._rest.by_ids("buildrequests", "buildrequestid", "buildrequestid", parsed, extra=_PROPERTIES)
            there = {_identity(row): row for row in rows}
            gone = tuple(each for each in asked if each not in there)
            if gone:
                self._confirm_gone(gone[0])
            yield self._details.page([there[each] for each in asked if each in there], {}, gone=gone, asked_for=True)

    def _confirm_gone(self, gone: str) -> None:
        """An empty answer may be a broken one: the item itself must answer 404, or be another request."""
        parsed = parse_external_id(gone)
        if parsed is None:
            return
        try:
            rows = self._rest.rows("buildrequests", path=f"buildrequests/{parsed[0]}")
        except NotFound:
            return
        if any(_identity(row) == gone for row in rows):
            raise TransientError(f"Buildbot left {gone} out of a list, and shows it when asked for it alone")


def _ends(rows: Iterable[Row]) -> dict[int, int]:
    """Build request id -> complete_at of those that have ended."""
    return {row["buildrequestid"]: row["complete_at"] for row in rows if isinstance(row.get("complete_at"), int)}


def _anchor(rows: Sequence[Row]) -> tuple[int, int] | None:
    """Id and submitted_at of the last row that has both."""
    whole = [row for row in rows[-10:] if isinstance(row.get("submitted_at"), int)]
    return (whole[-1]["buildrequestid"], whole[-1]["submitted_at"]) if whole else None


def _identity(row: Any) -> str | None:
    try:
        return external_id(row)
    except (KeyError, TypeError):
        return None
