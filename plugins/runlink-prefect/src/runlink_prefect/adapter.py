"""The adapter: what the host may ask of a Prefect server. The host comes here; `polling` has the questions of a poll,
`watching` those of the stream.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from runlink.spi import (
    ConfigRejected,
    Context,
    CursorExpired,
    Cursors,
    Delivery,
    EngineInfo,
    NotFound,
    Page,
    Polls,
    Receipt,
    Receives,
    Refetches,
    TransientError,
    Watches,
    load_schema,
)
from runlink_prefect import push
from runlink_prefect.details import Details
from runlink_prefect.place import PARTITION, Place
from runlink_prefect.polling import AT_ONCE, Batch, Polling
from runlink_prefect.rest import Rest, Row
from runlink_prefect.translate import is_flow_run_id
from runlink_prefect.watching import Watching

_KNOWN_TO_WORK: Final = "3.9.1"


class PrefectAdapter(Polls, Refetches, Watches, Receives):
    """Reads one Prefect server (or a Prefect Cloud workspace) through its REST API and its stream of events."""

    name = "prefect"
    config_schema = load_schema("runlink_prefect")
    steps_on_refetch = True
    authentication = "bearer"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._rest = Rest(context)
        self._details = Details(context, self._rest)
        self._polling = Polling(context, self._rest, self._details)
        self._watching = Watching(context)

    def check(self) -> EngineInfo:
        """Raises ConfigRejected when there is no Prefect API at the engine's address."""
        try:
            version = str(self._rest.json("admin/version"))
        except NotFound as error:
            raise ConfigRejected(f"{error}: `url` must be the address of a Prefect server (PREFECT_API_URL)") from error
        self._rest.rows("flow_runs", {"limit": 1})
        warnings = []
        if not version.startswith("3."):
            warnings.append(f"Prefect {version} was never tried with this plugin; {_KNOWN_TO_WORK} is known to work")
        if self._keeps_no_events():
            warnings.append(
                "Prefect keeps no events (PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED): open runs and recent ends "
                "are listed in their place, which costs more, and there is nothing to watch"
            )
        return EngineInfo(product="Prefect", version=version, warnings=tuple(warnings))

    def _keeps_no_events(self) -> bool:
        try:
            event = self._rest.newest_event()
        except NotFound:
            return True
        return self._polling.is_silent_since(self.context.since if event is None else event.occurred)

    # --- polling -------------------------------------------------------------------------------------------------

    def poll(self, cursors: Cursors) -> Iterator[Page]:
        """Nothing new: two requests and no page.

        Raises CursorExpired when the event that it goes on from is not there any more: Prefect purges its events after
        a week, or its database was reset or restored.
        """
        stored = cursors.get(PARTITION)
        place = Place.load(stored) if stored else None
        first = place is None or place.before is not None
        self._details.begin_turn(first_look=first)
        batches = self._polling.first_look(place) if place is None or first else self._polling.changes(place)
        yield from self._tell(batches, stored)

    def _tell(self, batches: Iterable[Batch], stored: str | None) -> Iterator[Page]:
        """Gathers small batches into one page, so that the details of all are read in the same few requests."""
        waiting: dict[str, Row] = {}
        place: Place | None = None
        for rows, place in batches:
            waiting.update((row["id"], row) for row in rows)
            if len(waiting) >= AT_ONCE:
                stored = place.dump()
                yield self._details.page(list(waiting.values()), {PARTITION: stored})
                waiting.clear()
        cursors = {} if place is None or place.dump() == stored else {PARTITION: place.dump()}
        page = self._details.page(list(waiting.values()), cursors)
        if page.observations or page.cursors or page.unreadable:
            yield page

    # --- reading again -------------------------------------------------------------------------------------------

    def refetch(self, external_ids: Sequence[str]) -> Iterator[Page]:
        """The present state with the steps of every try."""
        self._details.begin_turn()
        for start in range(0, len(external_ids), AT_ONCE):
            asked = external_ids[start : start + AT_ONCE]
            there = self._rest.by_ids("flow_runs", [each for each in asked if is_flow_run_id(each)])
            gone = tuple(each for each in asked if each not in there)
            if gone:
                self._confirm_gone(gone[0])
            yield self._details.page(list(there.values()), {}, gone=gone, asked_for=True)

    def _confirm_gone(self, gone: str) -> None:
        """An empty answer may be a broken one: the flow run itself must answer 404."""
        if not is_flow_run_id(gone):
            return
        try:
            self._rest.json(f"flow_runs/{gone}")
        except NotFound:
            return
        raise TransientError(f"Prefect left flow run {gone} out of a list, and shows it when asked for it alone")

    # --- what comes by itself ------------------------------------------------------------------------------------

    def watch(self, cursors: Cursors) -> Iterator[Page]:
        """Flow runs as events name them, read by id. Moves no cursor: an event on the websocket may not be in the
        database yet, nor ever."""
        stored = cursors.get(PARTITION)
        if stored is None:
            raise CursorExpired("nothing was polled yet, so there is no place to watch from")
        yield from self._watching.pages(Place.load(stored))

    def receive(self, delivery: Delivery) -> Receipt:
        """Of an automation's webhook: the flow run that it names is read again. See `push`."""
        return push.receipt(delivery.body)
