"""Recordings: one sync of a live engine as files without secrets, and the same tables made of them again.

`runlink record` and `runlink replay` come here, and tests that have such a folder as their fixture. A recording is a
folder: `recording.json` says what was recorded and how, each other numbered file is one exchange, and `tables.json` is
what the sync made of them. `serve_exchanges` takes the exchanges, too.
"""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec

from runlink.application.settings import EngineSettings
from runlink.domain import DomainError
from runlink.hosting.hosted import one_line
from runlink.hosting.scrubbing import Scrubber
from runlink.hosting.secrets import MASK, Redactor
from runlink.hosting.wire import Received, Sent
from runlink.spi import Adapter, AdapterError, EngineInfo, TransientError
from runlink.testing.engine import body_of, headers_of
from runlink.testing.host import Host

FORMAT: Final = 1
ABOUT: Final = "recording.json"
TABLES: Final = "tables.json"
_ATTEMPT: Final = ("number", "status", "native_status", "started_at", "finished_at", "message")
_SET_ASIDE: Final = ("external_id", "feed", "reason", "raw")
_KEPT: Final = frozenset({"name", "type", "url", "options", "include", "exclude", "max_metadata_bytes"})
"""Settings of an engine that change what is read; the rest is about pace."""

_DEADLINE_S: Final = 86_400.0
"""What a recording may take; `poll_deadline_s` is meant for polls that come again."""
_WITHOUT_WAITING: Final = 10_000_000


class RecordingError(DomainError):
    """A folder that is no recording, or not one that this release reads; or one that is not to be written over."""


@dataclass(frozen=True)
class Recorded:
    """What a recording, or a replay of one, came to. `tables` are scrubbed; `error` ended the sync, if anything did."""

    folder: Path
    requests: int
    tables: Mapping[str, Any]
    error: str | None
    product: str | None = None

    @property
    def instances(self) -> int:
        """How many rows there are."""
        return len(self.tables["instances"])


@dataclass(frozen=True)
class Replayed(Recorded):
    """A replay. `differences` are lines, each a place where its tables are not those of the live sync; None where the
    recording carries none. `missing` are requests that were not recorded, `unused` exchanges that nobody asked for."""

    differences: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()
    unused: int = 0

    @property
    def is_same(self) -> bool:
        """Whether everything was asked and came out as it did live."""
        return not (self.differences or self.missing or self.unused)


def record(
    adapter_class: type[Adapter],
    settings: EngineSettings,
    folder: Path,
    *,
    since: datetime,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    on_exchange: Callable[[int], None] = lambda _count: None,
) -> Recorded:
    """One sync of an engine, into a store of its own and into `folder`, which must be new or empty.

    The adapter's clock stands still meanwhile, so that a replay asks the same. An AdapterError ends the sync and is
    recorded; what else it may raise passes. Raises RecordingError for a folder that is in use.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise RecordingError(f"{folder} is not empty; give a folder that is new")
    recorders: list[_Recorder] = []

    def wire(known: Redactor) -> _Recorder:
        recorders.append(_Recorder(folder, Scrubber(known), on_exchange))
        return recorders[-1]

    at, began = now(), time.monotonic()
    settings = dataclasses.replace(settings, poll_deadline_s=_DEADLINE_S)
    with _host(adapter_class, settings, at, since, wire=wire) as host:
        recorder = recorders[0]
        product, error = _sync(host)
        about: dict[str, Any] = {
            "format": FORMAT,
            "runlink": version("runlink"),
            "recorded_at": at,
            "since": host.hosted.context.since,
            "engine": recorder.scrub.value(_about(settings, host.hosted.context.config)),
            "product": product and {"name": product.product, "version": product.version},
            "requests": recorder.count,
            "took_s": round(time.monotonic() - began, 3),
            "error": error and recorder.scrub.text(error),
        }
        tables = recorder.scrub.value(tables_of(host))
    _write(folder / ABOUT, about)
    _write(folder / TABLES, tables)
    return Recorded(folder, recorder.count, tables, about["error"], _named(product))


def replay(adapter_class: type[Adapter], folder: Path | str, **options: Any) -> Replayed:
    """The same sync from the recorded exchanges, into a store of its own; nothing is sent to anybody.

    `options` stand in place of the recorded ones of the engine (None takes one away: a kubeconfig that is not here).
    """
    folder = Path(folder)
    about = about_of(folder)
    engine = dict(about["engine"])
    given = {**engine.pop("options"), **options}
    engine["options"] = {name: value for name, value in given.items() if value is not None}
    engine |= {"include": tuple(engine["include"]), "exclude": tuple(engine["exclude"])}
    settings = EngineSettings(**engine, max_requests_per_minute=_WITHOUT_WAITING)
    at, since = (datetime.fromisoformat(about[name]) for name in ("recorded_at", "since"))
    users = [value for value in engine["options"].values() if isinstance(value, str)]
    player = _Player(exchanges(folder), Scrubber(Redactor({MASK}, users)))
    with _host(adapter_class, settings, at, since, wire=lambda _known: player) as host:
        product, error = _sync(host)
        tables = player.scrub.value(tables_of(host))
    live = json.loads((folder / TABLES).read_text("utf-8")) if (folder / TABLES).exists() else None
    told = None if live is None else tuple(_differences(live, tables))
    if told is not None and (error is None) != (about["error"] is None):
        told = (f"the live sync ended with {about['error'] or 'success'}, this one with {error or 'success'}", *told)
    return Replayed(
        folder,
        player.asked,
        tables,
        error,
        _named(product),
        told,
        tuple(player.missing),
        player.unused,
    )


def about_of(folder: Path) -> dict[str, Any]:
    """What was recorded: `engine` (its settings, secrets masked), `recorded_at`, `since`, …"""
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text("utf-8"))
        found = about["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{folder} is no recording: {ABOUT} cannot be read ({one_line(error)})") from None
    if found != FORMAT:
        raise RecordingError(f"{folder} is a recording of format {found}; this release reads format {FORMAT}")
    return about


def exchanges(folder: Path) -> list[dict[str, Any]]:
    """The recorded exchanges in their order."""
    try:
        return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("[0-9]*.json"))]
    except (OSError, ValueError) as error:
        raise RecordingError(f"an exchange in {folder} cannot be read: {one_line(error)}") from None


# --- the wire --------------------------------------------------------------------------------------------------------


class _Recorder:
    """Lets each exchange pass, and writes it down as it came."""

    def __init__(self, folder: Path, scrub: Scrubber, on_exchange: Callable[[int], None]) -> None:
        self.scrub = scrub
        self.count = 0
        self._folder = folder
        self._on_exchange = on_exchange
        self._lock = threading.Lock()

    def carry(self, sent: Sent, ask: Callable[[], Received]) -> Received:
        at, began = datetime.now(UTC), time.monotonic()
        try:
            answer = ask()
        except TransientError as error:
            self._keep(at, sent, str(error), time.monotonic() - began)
            raise
        self._keep(at, sent, answer, time.monotonic() - began)
        return answer

    def _keep(self, at: datetime, sent: Sent, answer: Received | str, took_s: float) -> None:
        with self._lock:
            self.count += 1
            told = self.scrub.exchange(sent, answer)
            name = re.sub(r"[^a-z0-9]+", "-", f"{sent.method}{told['request']['path'].partition('?')[0]}".lower())
            path = self._folder / f"{self.count:05d}-{name[:60].strip('-')}.json"
            _write(path, {"recorded_at": at, "elapsed_ms": round(took_s * 1000, 1), **told})
            self._on_exchange(self.count)


class _Player:
    """Answers in the engine's place. Of the exchanges with one method and path, those with the same body come first,
    in their order; when all were given, the last one is given again."""

    def __init__(self, recorded: list[dict[str, Any]], scrub: Scrubber) -> None:
        self.scrub = scrub
        self.asked = 0
        self.missing: list[str] = []
        self._recorded: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for exchange in recorded:
            request = exchange["request"]
            self._recorded.setdefault((request["method"], request["path"]), []).append(exchange)
        self._given: set[int] = set()
        self._lock = threading.Lock()

    @property
    def unused(self) -> int:
        """How many exchanges nobody asked for."""
        return sum(map(len, self._recorded.values())) - len(self._given)

    def carry(self, sent: Sent, ask: Callable[[], Received]) -> Received:  # noqa: ARG002 - nobody is asked
        with self._lock:
            exchange = self._next(self.scrub.exchange(sent, "")["request"])
        if "fault" in exchange:
            raise TransientError(exchange["fault"])
        answer = exchange["response"]
        pairs = tuple(headers_of(answer.get("headers")))
        return Received(int(answer["status"]), str(answer.get("reason") or ""), pairs, body_of(answer))

    def _next(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        known = self._recorded.get((request["method"], request["path"]), [])
        if not known:
            self.missing.append(f"{request['method']} {request['path']}")
            raise TransientError(f"{self.missing[-1]} is not in the recording")
        same = [exchange for exchange in known if _body(exchange["request"]) == _body(request)] or known
        chosen = next((exchange for exchange in same if id(exchange) not in self._given), same[-1])
        self._given.add(id(chosen))
        return chosen


def _body(request: Mapping[str, Any]) -> Any:
    return request.get("json", request.get("body", request.get("body_base64")))


# --- a sync ----------------------------------------------------------------------------------------------------------


def _host(adapter_class: type[Adapter], settings: EngineSettings, at: datetime, since: datetime, **more: Any) -> Host:
    given = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    url, config = given.pop("url"), given.pop("options")
    return Host(adapter_class, url, now=lambda: at, config=config, since=since, still=True, **given, **more)


def _sync(host: Host) -> tuple[EngineInfo | None, str | None]:
    product = None
    try:
        product = host.check()
        host.turn()
    except AdapterError as error:
        return product, host.hosted.redact(one_line(error))
    return product, None


def tables_of(host: Host) -> dict[str, Any]:
    """All that the store holds of the engine, as JSON has it."""
    rows = host.table()
    tries = host.attempts()
    for name, row in rows.items():
        row["attempts"] = [{key: one[key] for key in _ATTEMPT} for _, one in sorted(tries.get(name, {}).items())]
    aside = [{key: item[key] for key in _SET_ASIDE} for item in host.set_aside()]
    found = {
        "instances": rows,
        "set_aside": sorted(aside, key=lambda item: repr(sorted(item.items(), key=repr))),
        "cursors": host.cursors(),
    }
    plain: dict[str, Any] = json.loads(msgspec.json.encode(found))
    return plain


def _named(info: EngineInfo | None) -> str | None:
    return f"{info.product} {info.version}" if info is not None else None


def _about(settings: EngineSettings, config: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: getattr(settings, name) for name in sorted(_KEPT - {"options"})}
    return {**told, "include": list(settings.include), "exclude": list(settings.exclude), "options": dict(config)}


def _differences(live: Mapping[str, Any], replayed: Mapping[str, Any]) -> Iterator[str]:
    one, other = live["instances"], replayed["instances"]
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other:
            yield f"{name}: only in {'the replay' if name not in one else 'the live sync'}"
            continue
        for fact in sorted(one[name].keys() | other[name].keys()):
            if one[name].get(fact) != other[name].get(fact):
                yield f"{name}: {fact} was {one[name].get(fact)!r:.200}, and is {other[name].get(fact)!r:.200}"
    for table in ("set_aside", "cursors"):
        if live[table] != replayed[table]:
            yield f"{table}: was {live[table]!r:.200}, and is {replayed[table]!r:.200}"


def _write(path: Path, value: Any) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
