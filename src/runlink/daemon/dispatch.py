"""Sends runlink's own events to subscriptions: CloudEvents by POST, signed after Standard Webhooks.

At least once, in order per Run: of a Run's events only the first that waits is sent, and a Run whose events are
refused keeps no other waiting. The daemon comes here once a second: `place`, then `deliver` for each subscription on a
thread of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import httpx
import msgspec

from runlink.application import tracing
from runlink.application.settings import Subscription
from runlink.daemon.errors import words
from runlink.daemon.relay import ACTOR, NOTE_S
from runlink.hosting import SecretUnavailable
from runlink.hosting.authentication import standard_signature
from runlink.hosting.secrets import Redactor, resolve
from runlink.store import SqlStore, SqlUnitOfWork

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
TYPE_PREFIX = "runlink."
"""In front of an event's type, as CloudEvents types go: `runlink.run.failed`."""
MOST_WAIT_S = 3600.0


class Dispatch:
    """The subscriptions of one store. `subscriptions` follow the configuration.

    fence      the daemon's fencing token; None outside a lease
    transport  what httpx sends with; None: the network
    """

    def __init__(
        self,
        store: SqlStore,
        subscriptions: Sequence[Subscription],
        now: Callable[[], datetime],
        fence: int | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.subscriptions = tuple(subscriptions)
        self._store = store
        self._now = now
        self._fence = fence
        self._transport = transport
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()
        self._ailing: set[str] = set()
        self._stopping = threading.Event()

    @property
    def names(self) -> tuple[str, ...]:
        """The subscriptions."""
        return tuple(one.name for one in self.subscriptions)

    def run(self) -> int:
        """One pass; returns how many events were sent. What is new is copied first."""
        self.place()
        return sum(self.deliver(name) for name in self.names)

    def stop(self) -> None:
        """Ends `deliver` before the next event."""
        self._stopping.set()
        with self._lock:
            if self._client is not None:
                self._client.close()

    def enrol(self) -> None:
        """Gives new subscriptions a place, at the end, and takes those away that left the configuration."""
        with self._store.reading() as uow:
            known = uow.subscriptions.names()
        if known != set(self.names):
            self._write(lambda uow: uow.subscriptions.keep(self.names))

    def place(self) -> None:
        """Copies what is new in the outbox for each subscription. Raises FenceLost, as all of this class."""
        self.enrol()
        for one in self.subscriptions:
            with self._store.reading() as uow:
                more = uow.subscriptions.has_news(one.name, self._now())
            while more:
                more = self._write(partial(_copy, one, self._now())) > 0

    def deliver(self, name: str) -> int:
        """Sends one subscription what is due, until there is nothing; returns how many events were taken."""
        found = next((one for one in self.subscriptions if one.name == name), None)
        if found is None:
            return 0
        try:
            secrets, values = resolve(found.secrets, f"subscriptions.{name}.secrets")
        except SecretUnavailable as error:
            self._ails(name, str(error))
            return 0
        sender = _Sender(found, secrets, Redactor(values), self._open())
        taken = 0
        while not self._stopping.is_set():
            with self._store.reading() as uow:
                due = uow.subscriptions.due(name, self._now())
            if not due:
                break
            taken += self._send(sender, due)
        return taken

    def _send(self, sender: _Sender, due: Sequence[Mapping[str, Any]]) -> int:
        """Sends these in turn, and notes what became of them now and then; a crash sends again what was not noted."""
        sent: list[int] = []
        failed: list[tuple[int, str, datetime | None]] = []
        until = time.monotonic() + NOTE_S
        for event in due:
            if self._stopping.is_set():
                break
            reason, is_final = sender.send(event, int(self._now().timestamp()))
            if reason is None:
                sent.append(event["position"])
            else:
                failed.append((event["position"], reason, self._again_at(sender.settings, event, is_final)))
            if time.monotonic() > until:
                break
        name = sender.settings.name

        def note(uow: SqlUnitOfWork) -> None:
            uow.subscriptions.sent(name, sent, self._now())
            for position, reason, due_at in failed:
                uow.subscriptions.failed(name, position, reason, due_at)

        self._write(note)
        if failed:
            self._ails(name, failed[0][1])
        elif sent and name in self._ailing:
            self._ailing.discard(name)
            log.info("subscription %s takes events again", name)
        return len(sent)

    def _again_at(self, settings: Subscription, event: Mapping[str, Any], is_final: bool) -> datetime | None:
        if is_final or event["attempts"] + 1 >= settings.max_attempts:
            log.warning("subscription %s: event %s is dead", settings.name, event["event_id"])
            return None
        return self._now() + timedelta(seconds=min(MOST_WAIT_S, 2.0 ** min(event["attempts"], 20)))

    def _ails(self, name: str, reason: str) -> None:
        if name not in self._ailing:
            self._ailing.add(name)
            log.warning("subscription %s: %s; events wait and are tried again", name, reason)

    def _open(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(transport=self._transport, follow_redirects=False, trust_env=True)
            return self._client

    def _write(self, work: Callable[[SqlUnitOfWork], Any]) -> Any:
        def fenced(uow: SqlUnitOfWork) -> Any:
            if self._fence is not None:
                uow.ledger.check_fence(self._fence)
            return work(uow)

        return self._store.write(fenced, actor=ACTOR)


def _copy(settings: Subscription, now: datetime, uow: SqlUnitOfWork) -> int:
    return uow.subscriptions.copy(settings.name, settings.wants, now)


class _Sender:
    """One subscription with its secrets resolved."""

    def __init__(
        self, settings: Subscription, secrets: Sequence[str], redactor: Redactor, client: httpx.Client
    ) -> None:
        self.settings = settings
        self._secrets = secrets
        self._redactor = redactor
        self._client = client

    def send(self, event: Mapping[str, Any], sent_at: int) -> tuple[str | None, bool]:
        """Posts an event; gives why it was not taken, None when it was, and whether it never will be (410: gone)."""
        settings = self.settings
        body = msgspec.json.encode(cloud_event(event, settings.source))
        message_id = f"{settings.name}-{event['event_id']}"  # the same at each attempt: the receiver may have had it
        headers = {
            "Content-Type": CONTENT_TYPE,
            "User-Agent": "runlink",
            "webhook-id": message_id,
            "webhook-timestamp": str(sent_at),
            "webhook-signature": standard_signature(self._secrets, message_id, sent_at, body),
        }
        try:
            with (
                tracing.span("deliver", {"runlink.subscription": settings.name}, kind="client") as span,
                self._client.stream(
                    "POST", settings.url, content=body, headers=headers | tracing.headers(), timeout=settings.timeout_s
                ) as answer,
            ):
                status = answer.status_code
                span.set("http.response.status_code", status)
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:  # RuntimeError: the client was closed
            return self._redactor.redact(f"no answer: {words(error)}"), False
        if 200 <= status < 300:
            return None, False
        return f"it answered HTTP {status}", status == 410


def cloud_event(event: Mapping[str, Any], source: str) -> dict[str, Any]:
    """An event of the outbox as CloudEvents 1.0 has it, in structured mode."""
    subject = None if event["run_id"] is None else {"subject": str(event["run_id"])}
    return {
        "specversion": "1.0",
        "id": event["event_id"],
        "source": source,
        "type": f"{TYPE_PREFIX}{event['type']}",
        "time": event["occurred_at"],
        **(subject or {}),
        "sequence": f"{event['position']:020d}",
        "datacontenttype": "application/json",
        "data": event["data"],
    }
