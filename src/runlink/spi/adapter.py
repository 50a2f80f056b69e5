"""The classes a plugin fills in. What an adapter can do is which of them it inherits, so no flag can lie."""

from __future__ import annotations

import abc
import importlib.resources
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from runlink.spi.context import Context
from runlink.spi.observation import Delivery, EngineInfo, Page, Receipt

SPI_VERSION: Final = "1"
"""The version of this interface. A plugin names the one it was written for; the host refuses others with a sentence."""

Cursors = Mapping[str, str]
"""partition -> the cursor stored for it."""


def load_schema(package: str, name: str = "config.schema.json") -> Mapping[str, Any]:
    """The JSON Schema shipped inside a plugin's package."""
    text = importlib.resources.files(package).joinpath(name).read_text("utf-8")
    schema: Mapping[str, Any] = json.loads(text)
    return schema


class Adapter(abc.ABC):
    """Speaks to one engine. The host makes one per configured engine and calls it from one thread at a time, except
    `close` and (see `Watches`) `watch`.

    name            the engine type operators write as `type`, lower case
    spi_version     the interface it was written for
    config_schema   JSON Schema (an object) of the keys it adds to `[engines.NAME]`; the host checks it
    default_poll_interval_s   seconds between polls unless the operator says; None: the host's own default
    """

    name: ClassVar[str]
    spi_version: ClassVar[str] = SPI_VERSION
    default_poll_interval_s: ClassVar[float | None] = None
    config_schema: ClassVar[Mapping[str, Any]]

    def __init__(self, context: Context) -> None:
        """Must not reach the engine: that is for the methods."""
        self.context = context

    @abc.abstractmethod
    def check(self) -> EngineInfo:
        """Reaches the engine, proves the credentials, tells product and version."""

    def close(self) -> None:  # noqa: B027 - most adapters have nothing to let go of
        """Lets go of everything. May be called from another thread, more than once, and while a read is blocked.

        Connections made through the context are closed by the host; there is nothing to do for them here.
        """


class Polls(Adapter):
    """Reads what is new or changed, again and again."""

    @abc.abstractmethod
    def poll(self, cursors: Cursors) -> Iterator[Page]:
        """Without cursors: everything since `context.since`. With them: all that is new or changed since.

        Pages are stored as they come; a crash repeats from the last stored cursor. Discovery only has to show an
        instance once: what is still open is read again through `Refetches`, or by this very poll.
        """


class Refetches(Adapter):
    """Reads given instances again; for engines whose poll does not show every later change.

    The host asks for each instance that is still open and was not shown by the poll of the same turn. With
    `steps_on_refetch` it also asks once for a linked instance that has ended, to have its steps read.
    """

    steps_on_refetch: ClassVar[bool] = False

    @abc.abstractmethod
    def refetch(self, external_ids: Sequence[str]) -> Iterator[Page]:
        """The present state of these instances; ids that the engine no longer has go to `Page.gone`."""


class Watches(Adapter):
    """Follows a stream.

    The host runs `watch` in one thread while `poll` and `refetch` run in another, on the same object: what the adapter
    keeps between calls must be safe to share. They share one set of cursors too, so a poll gives the cursor that a
    watch begins from, and must not move past one that a watch still needs.
    """

    @abc.abstractmethod
    def watch(self, cursors: Cursors) -> Iterator[Page]:
        """A blocking stream from where the poll ended. An empty page is the heartbeat; the stream's end is normal.

        Each page is stored before the next is asked for. Raises CursorExpired when the engine no longer knows the
        place, or there is none: the host polls, reads again what is missing, and comes back. TransientError makes it
        come back with the stored cursors.
        """


class Receives(Adapter):
    """Understands what the engine pushes."""

    authentication: ClassVar[str]
    """The scheme that deliveries are proved by unless the operator says: `github`, `gitlab`, `standard-webhooks`,
    `bearer` or `basic`. The host implements them; `[engines.NAME.webhook]` has the secrets."""

    @abc.abstractmethod
    def receive(self, delivery: Delivery) -> Receipt:
        """Runs after the host verified, stored and answered, possibly more than once for the same delivery.

        Nothing has been looked at: the body may be anything. Raises DeliveryRejected for what is not understood, and
        never will be; TransientError has the delivery tried again. What is of no interest gives an empty Receipt.
        """
