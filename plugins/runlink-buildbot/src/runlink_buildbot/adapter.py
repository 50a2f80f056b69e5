"""The adapter: what it can do, and which reader does it. The host comes here.

Polls find everything; the watch makes it known within a second or two; a push, where the master sends one, as well.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from runlink.spi import (
    AdapterError,
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
    Watches,
    load_schema,
)
from runlink_buildbot.place import PARTITION
from runlink_buildbot.push import understood
from runlink_buildbot.reading import Reader
from runlink_buildbot.rest import Rest
from runlink_buildbot.stream import Stirred, Stream

_BUILDS_REMEMBERED: Final = 5_000


class BuildbotAdapter(Polls, Watches, Refetches, Receives):
    """Reads one Buildbot master (or several that share a database) through its REST API.

    heartbeat_s   how long the stream may be silent before the master is asked whether it still has it
    pause_s       between two looks at what the stream says has changed: a busy master speaks many times a second
    """

    name = "buildbot"
    config_schema = load_schema("runlink_buildbot")
    steps_on_refetch = True
    default_poll_interval_s: ClassVar[float | None] = 60.0
    authentication: ClassVar[str] = "basic"
    heartbeat_s: ClassVar[float] = 30.0
    pause_s: ClassVar[float] = 1.0

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._rest = Rest(context)
        self._reader = Reader(context, self._rest)
        self._closing = threading.Event()

    def close(self) -> None:
        """Ends the pause of a watch; the host ends its connections."""
        self._closing.set()

    def check(self) -> EngineInfo:
        """Raises ConfigRejected when there is no Buildbot REST API at the engine's address."""
        try:
            masters = self._rest.rows("masters", path="masters")
        except NotFound as error:
            raise ConfigRejected(f"{error}: `url` must be the address of Buildbot's web interface") from error
        self._rest.rows("buildrequests", [("limit", "1")])
        version = self._version()
        warnings = []
        if not any(master.get("active") for master in masters):
            warnings.append("no master is active: nothing will be built until one is started (`buildbot start`)")
        if version != "unknown" and not version.startswith("4."):
            warnings.append(f"Buildbot {version} was never tried with this plugin; 4.3.0 is known to work")
        return EngineInfo(product="Buildbot", version=version, warnings=tuple(warnings))

    def _version(self) -> str:
        """Buildbot 4.3.0 tells its version nowhere but in the configuration of its web interface."""
        try:
            versions = dict(self._rest.json("config")["versions"])
            return str(versions["Buildbot"])
        except (AdapterError, KeyError, TypeError, ValueError):
            return "unknown"

    # --- feeds ---------------------------------------------------------------------------------------------------

    def poll(self, cursors: Cursors) -> Iterator[Page]:
        """Nothing new, nothing open: three requests and no page.

        Raises CursorExpired when the master's database was reset or restored from an older copy.
        """
        yield from self._reader.poll(cursors)

    def refetch(self, external_ids: Sequence[str]) -> Iterator[Page]:
        """The present state with the steps of every try. An id of another database, or of no database, is gone."""
        yield from self._reader.refetch(external_ids)

    def watch(self, cursors: Cursors) -> Iterator[Page]:
        """The stream tells what to read again. What it passed over before it began is caught up with first, as a poll.

        Raises CursorExpired without a place, and when that poll does. Has a reader of its own, for a thread of its own.
        """
        if PARTITION not in cursors:
            raise CursorExpired("there is no place to watch from: poll first")
        rest = Rest(self.context)
        reader = Reader(self.context, rest)
        requests_of: dict[int, int] = {}
        with Stream(rest) as stream:
            yield Page()
            yield from reader.poll(cursors)
            while (stirred := stream.wait(self.heartbeat_s)) is not None:
                if any(stirred):
                    yield reader.now(_requests(stirred, requests_of, reader)) or Page()
                    self._closing.wait(self.pause_s)
                elif stream.is_alive():
                    yield Page()
                else:
                    return

    def receive(self, delivery: Delivery) -> Receipt:
        """What an HttpStatusPush reporter sent: the state as far as it shows, and the build request to read again."""
        observation = understood(delivery.body, self.context.url)
        if not self.context.wants(observation.workflow):
            return Receipt()
        return Receipt(observations=(observation,), refetch=(observation.external_id,))


def _requests(stirred: Stirred, known: dict[int, int], reader: Reader) -> set[int]:
    """The build requests that are to be read again. Which request a build belongs to never changes."""
    unknown = stirred.builds - known.keys()
    if unknown:
        known.update(reader.requests_of(unknown))
        while len(known) > _BUILDS_REMEMBERED:
            del known[next(iter(known))]
    return stirred.requests | {known[build] for build in stirred.builds if build in known}
