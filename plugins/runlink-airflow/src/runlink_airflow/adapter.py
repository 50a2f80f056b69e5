"""The adapter: which requests are made, in which order, and what goes into a page. The host comes here.

One poll asks one question: which DAG runs were touched since. Airflow touches a run with each scheduling decision, so
every running run is shown each time, and one that has ended, was cleared or is new once. What waits in the queue of a
paused DAG is not touched: the host has it read again.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

from runlink.spi import (
    ConfigRejected,
    Context,
    Cursors,
    Delivery,
    EngineInfo,
    NotFound,
    Page,
    Polls,
    Receipt,
    Receives,
    Refetches,
    load_schema,
)
from runlink_airflow.details import Details
from runlink_airflow.lineage import read_event
from runlink_airflow.place import OVERLAP, PARTITION, Place
from runlink_airflow.rest import Listing, NotPermitted, Rest, Row, run_path
from runlink_airflow.translate import identity, parse_external_id

SINGLES: Final = 3
"""Up to so many runs are read again one by one; of more, all that are open are listed first."""

REFETCH_RUNS: Final = 50
"""DAG runs told in one page of a refetch, which reads the task instances of all of them."""

_RUNS_KEPT: Final = 10_000

_IN_ORDER: Final = ("order_by", "id")
"""The one order in which rows keep their places while they are touched: one more update moves none of them."""


class AirflowAdapter(Polls, Refetches, Receives):
    """Reads one Airflow through its REST API v2, and understands the OpenLineage events that it pushes."""

    name = "airflow"
    config_schema = load_schema("runlink_airflow")
    steps_on_refetch = True
    authentication = "bearer"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._rest = Rest(context)
        self._details = Details(context, self._rest)
        self._lineage_runs: dict[str, str] = {}

    def check(self) -> EngineInfo:
        """Raises ConfigRejected when there is no API of Airflow 3 at the engine's address."""
        try:
            version = str(self._rest.get("version", key="version")["version"])
            health = self._rest.get("monitor/health", key="scheduler")
        except NotFound as error:
            raise ConfigRejected(f"{error}: `url` must be the address of an Airflow 3 API server") from error
        self._rest.listing("dags/~/dagRuns", "dag_runs", [_IN_ORDER, ("state", "queued")])
        warnings = []
        if (health.get("scheduler") or {}).get("status") != "healthy":
            warnings.append("the scheduler gives no sign of life: nothing will run until it is started")
        if not version.startswith("3."):
            warnings.append(f"Airflow {version} was never tried with this plugin; 3.3.2 is known to work")
        try:
            self._rest.rows("eventLogs", "event_logs", [("limit", "1")])
        except NotPermitted:
            warnings.append(
                "the user may not read the audit log: a cancelled run is told as failed unless its note begins with "
                "'cancelled'; grant it the permission to read audit logs"
            )
        return EngineInfo(product="Apache Airflow", version=version, warnings=tuple(warnings))

    # --- polling -------------------------------------------------------------------------------------------------

    def poll(self, cursors: Cursors) -> Iterator[Page]:
        """Nothing touched: one request and no page.

        Raises CursorExpired when the engine no longer takes its own page token.
        """
        stored = cursors.get(PARTITION)
        place = Place.load(stored) if stored else Place(since=self.context.since, first=True)
        self._details.begin_turn(first=place.first)
        resumed = place.after is not None
        if place.first and not resumed:
            yield from self._tell_open()
        while True:
            listing = self._listing(place)
            if place.began_at is None:
                if listing.at < place.since and not place.first:  # the engine's clock was set back
                    place = Place(since=listing.at - OVERLAP)
                    continue
                place = dataclasses.replace(place, began_at=listing.at)
            place = dataclasses.replace(place, after=listing.after)
            if not (listing.rows or listing.after or resumed or place.outgrown()):
                return
            reached = place if listing.after is not None else place.next_window()
            yield self._details.page(listing.rows, {PARTITION: reached.dump()})
            self._details.stored()
            if listing.after is None:
                return

    def _tell_open(self) -> Iterator[Page]:
        """What is open, however long ago it was touched: the queue of a paused DAG."""
        for listing in self._open():
            if listing.rows:
                yield self._details.page(listing.rows, {})
                self._details.stored()

    def _listing(self, place: Place) -> Listing:
        params = [("updated_at_gte", place.since.isoformat()), _IN_ORDER]
        return self._rest.listing("dags/~/dagRuns", "dag_runs", params, after=place.after)

    def _open(self) -> Iterator[Listing]:
        params = [("state", "queued"), ("state", "running"), _IN_ORDER]
        return self._rest.pages("dags/~/dagRuns", "dag_runs", params)

    # --- reading again -------------------------------------------------------------------------------------------

    def refetch(self, external_ids: Sequence[str]) -> Iterator[Page]:
        """The present state with the steps of every try. A run that was deleted, or deleted and made anew, is gone."""
        self._details.begin_turn()
        there: dict[str, Row] = {}
        if len(external_ids) > SINGLES:
            asked = set(external_ids)
            for listing in self._open():
                there.update((name, row) for row in listing.rows if (name := _identity(row)) in asked)
        for start in range(0, len(external_ids), REFETCH_RUNS):
            runs: list[Row] = []
            gone: list[str] = []
            for name in external_ids[start : start + REFETCH_RUNS]:
                row = there.get(name)
                if row is None:
                    self._single(name, runs, gone)
                else:
                    runs.append(row)
            yield self._details.page(runs, {}, gone=tuple(gone), asked_for=True)
            self._details.stored()

    def _single(self, name: str, runs: list[Row], gone: list[str]) -> None:
        """A run of a DAG that we may not read any more is neither there nor gone."""
        parsed = parse_external_id(name)
        if parsed is None:
            gone.append(name)
            return
        try:
            row = self._rest.get(run_path(*parsed), key="dag_run_id")
        except NotFound:
            gone.append(name)
        except NotPermitted as error:
            self.context.log.warning("%s is left as it is: %s", name, error)
        else:
            there = _identity(row)
            if there is None or there == name:  # a row that makes no sense is told of as such
                runs.append(row)
            else:
                gone.append(name)

    # --- what is pushed ------------------------------------------------------------------------------------------

    def receive(self, delivery: Delivery) -> Receipt:
        """An OpenLineage event. What it says is a part, so a run that has ended is read again as a whole."""
        told = read_event(delivery.body)
        if told is None:
            return Receipt()
        name = told.name or self._lineage_runs.get(told.run_id)
        if name is None:
            return Receipt()
        self._lineage_runs[told.run_id] = name
        while len(self._lineage_runs) > _RUNS_KEPT:
            del self._lineage_runs[next(iter(self._lineage_runs))]
        observations = () if told.observation is None else (told.observation,)
        return Receipt(observations=observations, refetch=(name,) if told.reread else ())


def _identity(row: Row) -> str | None:
    """None for a row that makes no sense; it will be told of by the page."""
    try:
        return identity(row)
    except (KeyError, ValueError, TypeError):
        return None
