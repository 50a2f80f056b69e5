"""The adapter: which questions are asked, in which order, and what goes into a page. The host comes here.

A poll asks for the runs that were updated since the last one, with an overlap; what it shows is read as a whole, with
steps. Dagster stamps no run when a step of it changes: running ones are read again by `refetch`.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from runlink.spi import (
    AdapterError,
    ConfigRejected,
    Context,
    Cursors,
    EngineInfo,
    Page,
    Polls,
    Refetches,
    load_schema,
)
from runlink_dagster.details import Details
from runlink_dagster.graphql import GraphQL, NoGraphQL
from runlink_dagster.place import PARTITION, Place
from runlink_dagster.runs import OPEN, PAGE_RUNS, Row, Runs

_TRIED: Final = "1."


class DagsterAdapter(Polls, Refetches):
    """Reads one Dagster instance through the GraphQL API of its webserver."""

    name = "dagster"
    config_schema = load_schema("runlink_dagster")
    steps_on_refetch = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._runs = Runs(GraphQL(context))
        self._details = Details(context, self._runs)
        self._reached: str | None = None

    def check(self) -> EngineInfo:
        """Raises ConfigRejected when there is no GraphQL endpoint at the engine's address."""
        try:
            version = self._runs.version()
        except NoGraphQL as error:
            raise ConfigRejected(str(error)) from error
        warnings = []
        if not version.startswith(_TRIED) and version != "unknown":
            warnings.append(f"Dagster {version} was never tried with this plugin; 1.13 is known to work")
        asleep = self._sleeping_daemons()
        if asleep:
            warnings.append(
                f"no daemon does {', '.join(asleep)}: queued runs and schedules wait until one is started "
                "(`dagster-daemon run`)"
            )
        return EngineInfo(product="Dagster", version=version, warnings=tuple(warnings))

    def _sleeping_daemons(self) -> list[str]:
        """Dagster tells of its daemons to who may see them, and not where they are somebody else's (Dagster+)."""
        try:
            return self._runs.sleeping_daemons()
        except (AdapterError, KeyError, TypeError):
            return []

    # --- polling -------------------------------------------------------------------------------------------------

    def poll(self, cursors: Cursors) -> Iterator[Page]:
        """Nothing new: one request and no page. Raises CursorExpired for a cursor that is not this plugin's."""
        stored = cursors.get(PARTITION)
        place = Place.load(stored) if stored else Place(since=self.context.since.timestamp())
        self._details.begin_turn(of_ended=stored is not None and place.after is None)
        if stored is None or stored != self._reached:  # what this object told may not be what the host has
            self._details.forget()
        if not stored:
            yield from self._open()
        yield from self._updated(place, stored)

    def _open(self) -> Iterator[Page]:
        """What is open, however long nothing has been heard of it: for the first look alone."""
        for listing in self._runs.listing({"statuses": list(OPEN)}):
            yield from self._tell(self._details.fresh(listing.rows), {})

    def _updated(self, place: Place, stored: str | None) -> Iterator[Page]:
        """What was updated since the place. A listing of several pages goes on where a crash ended it."""
        reached = stored
        for listing in self._runs.listing({"updatedAfter": place.asked_from}, after=place.after):
            if place.until is None:
                stamps = [row["updateTime"] for row in listing.rows if row.get("updateTime") is not None]
                place = place.begun(listing.at, max(stamps, default=None))
            place = place.done() if listing.is_last else place.told(listing.rows[-1]["runId"])
            rows = self._details.fresh(listing.rows)
            if rows or listing.is_last:
                cursors = {} if place.dump() == reached else {PARTITION: place.dump()}
                yield from self._tell(rows, cursors)
                self._reached = reached = place.dump()

    def _tell(self, rows: Sequence[Row], cursors: Cursors) -> Iterator[Page]:
        if rows or cursors:
            yield self._details.page(rows, cursors)
            self._details.told(rows)

    # --- reading again -------------------------------------------------------------------------------------------

    def refetch(self, external_ids: Sequence[str]) -> Iterator[Page]:
        """The present state with steps. What Dagster leaves out of a list is gone only when it says so by itself."""
        for start in range(0, len(external_ids), PAGE_RUNS):
            asked = list(dict.fromkeys(external_ids[start : start + PAGE_RUNS]))
            rows = self._runs.by_ids(asked)
            there = {row["runId"] for row in rows}
            absent = [each for each in asked if each not in there]
            gone = self._runs.missing(absent) if absent else set()
            yield self._details.page(rows, {}, gone=tuple(each for each in absent if each in gone), asked_for=True)
            self._details.told(rows)
