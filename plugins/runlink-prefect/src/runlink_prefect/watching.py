"""The stream of events, `/api/events/out`, turned into pages. The adapter comes here.

Prefect 3.9.1 drops events for a subscriber that is more than 256 behind, without a word, and the stream stays silent
for ever when the filter's `until` is not given (it is *now* then, recording 100). Hence a stream is for being quick
only: the poll behind it misses nothing, and a stream that told nothing for a while is ended and begun anew.
"""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from runlink.spi import Context, CredentialsRejected, NotFound, Page, TransientError
from runlink_prefect.details import Details
from runlink_prefect.events import Event, read_event
from runlink_prefect.place import OVERLAP, Place
from runlink_prefect.rest import EVENT_NAMES, Rest
from runlink_prefect.stream import WebSocket, connected
from runlink_prefect.translate import is_ahead_of_time

HEARTBEAT_S: Final = 10.0
"""How often an empty page is given while nothing happens."""

LINGER_S: Final = 0.1
"""How long is waited for more events before the flow runs that they name are read."""

AT_ONCE: Final = 50
"""Flow runs read and told together."""

SILENT_S: Final = 300.0
"""A stream that named no flow run for so long is ended: the host takes it up again, with what it may have missed."""

_FAR: Final = timedelta(days=3650)
_HANDSHAKE_S: Final = 10.0


class Watching:
    """Follows the stream. Used from one thread at a time, which is not the poll's: it shares nothing with the poll."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rest = Rest(context)
        self._details = Details(context, self._rest)

    def pages(self, place: Place) -> Iterator[Page]:
        """Until the server ends the stream, or it was silent for long.

        Raises TransientError where there is nothing to watch: polling goes on without.
        """
        if place.silent:
            raise TransientError("Prefect keeps no events, so there is nothing to watch", retry_after_s=SILENT_S)
        try:
            path, now = self._rest.path("events/out"), self._context.now
            with connected(self._rest.client, path, "prefect", now) as socket:
                yield from self._follow(socket, place)
        except NotFound as error:
            raise TransientError(f"{error}: this Prefect has no stream of events", retry_after_s=SILENT_S) from error

    def _follow(self, socket: WebSocket, place: Place) -> Iterator[Page]:
        self._sign_in(socket)
        since = place.since - OVERLAP
        occurred = {"since": since.isoformat(), "until": (self._context.now() + _FAR).isoformat()}
        socket.send(json.dumps({"type": "filter", "filter": {"event": EVENT_NAMES, "occurred": occurred}}))
        yield Page()
        told = set(place.told)
        named_at = time.monotonic()
        while time.monotonic() - named_at < SILENT_S:
            messages = socket.wait(HEARTBEAT_S)
            while messages and len(messages) < 4 * AT_ONCE and (more := socket.wait(LINGER_S)):
                messages += more
            if messages is None:
                return
            news = [event for event in map(self._event, messages) if event and event.id[-12:] not in told]
            if not news:
                yield Page()
                continue
            named_at = time.monotonic()
            yield from self._tell(news)
            told.update(event.id[-12:] for event in news)
            if len(told) > 10_000:
                told = {event.id[-12:] for event in news}

    def _sign_in(self, socket: WebSocket) -> None:
        """The first message is always this one, also where no token is needed. A refused token closes the stream."""
        config = self._context.config
        socket.send(json.dumps({"type": "auth", "token": config.get("auth_string") or config.get("api_key")}))
        answers = socket.wait(_HANDSHAKE_S)
        if not answers:
            raise TransientError("Prefect's stream of events did not answer who we are")
        answer = _message(answers[0])
        if answer.get("type") != "auth_success":
            raise CredentialsRejected(f"Prefect's stream of events answered {answer.get('type')!r}: check the secret")

    def _event(self, message: bytes) -> Event | None:
        content = _message(message)
        if content.get("type") != "event":
            return None
        try:
            return read_event(content["event"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._rest.set_aside(content, f"an event that makes no sense: {error!r}")
            return None

    def _tell(self, news: list[Event]) -> Iterator[Page]:
        self._details.left_an_end(event.run for event in news if event.leaves_an_end)
        runs = list(dict.fromkeys(event.run for event in news))
        for start in range(0, len(runs), AT_ONCE):
            self._details.begin_turn()
            rows = self._rest.by_ids("flow_runs", runs[start : start + AT_ONCE]).values()
            yield self._details.page([row for row in rows if not is_ahead_of_time(row)], {})


def _message(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
