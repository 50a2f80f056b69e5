"""What an adapter brought, before it is believed: checked, measured, put in order, set aside where it is unreadable.

Nothing in a page may stop the rest of it, now or at the next poll, so whatever the store could not keep is found here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from runlink.application.rows import Quarantined
from runlink.spi import Observation, Page, Revision, Step, Unknown

MAX_CURSOR_BYTES = 65536
"""Of one partition's cursor; an adapter that needs more splits its partitions."""

_MAX_ATTEMPT = 1_000_000
_MAX_TELLINGS = 16  # of one instance in a page that are taken one by one; of more, those in between are left out
_NUL = b"\\u0000"  # as JSON writes it; PostgreSQL keeps no text with it

_json = msgspec.json.Encoder(order="deterministic")
_observation = msgspec.json.Decoder(Observation)
_steps = msgspec.json.Decoder(tuple[Step, ...])
_UNSTORABLE = (TypeError, ValueError, OverflowError, RecursionError)  # msgspec's errors are ValueErrors


class PageRefused(Exception):
    """A page that breaks the interface's promises: the adapter has a bug. Nothing of it is stored."""


@dataclass(slots=True)
class Told:
    """An observation on its way in: what it said as JSON, without revision and steps, and the digest of all of it.

    `digest` is None for a partial observation: it cannot be the same as a whole one. `note` says what was left out.
    `last` is False where the page tells of the same instance again: then it is how things were, not how they are.
    """

    given: Observation
    text: bytes
    steps: bytes | None
    digest: bytes | None
    note: str | None = None
    last: bool = True


class Intake:
    """The observations of one page. `stale` counts those that another of the page has superseded."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.quarantined: list[Quarantined] = []
        self.seen: set[str] = set()
        self.stale = 0

    def rounds(self, observations: Sequence[Observation]) -> list[dict[str, Told]]:
        """Observations by id; what must come after another (an id that stands in the page again, an id that supersedes
        another) goes to a later round."""
        rounds: list[dict[str, Told]] = [{}]
        next_place: dict[str, int] = {}
        superseded: set[str] = set()
        latest: dict[str, Told] = {}
        for observation in observations:
            told = self._told(observation)
            if told is None:
                continue
            name, former = told.given.external_id, told.given.supersedes
            if name in superseded:
                self.stale += 1
                continue
            place = next_place.get(name, 0)
            if place >= _MAX_TELLINGS:
                place -= 1
                self.stale += 1
            if former is not None:
                superseded.add(former)
                place = max(place, next_place.get(former, 0))
                next_place[former] = place + 1
            next_place[name] = place + 1
            if (earlier := latest.get(name)) is not None:
                earlier.last = False
            latest[name] = told
            while place >= len(rounds):
                rounds.append({})
            rounds[place][name] = told
        self.seen.update(latest)
        return [one for one in rounds if one]

    def read(self, told: Told) -> Observation | None:
        """The observation as it will be stored, every field of its declared type; None when it was set aside.

        Read back from its JSON: what is compared later is what is kept now, and a wrong type does not reach the store.
        """
        try:
            told.text = _without_nul(told.text)
            observation = _observation.decode(told.text)
            revision, steps = told.given.revision, told.given.steps
            if told.steps is not None:
                steps = tuple(self._bounded(step, told) for step in _steps.decode(_without_nul(told.steps)))
            _check_counts(observation)
            if revision is not None or steps is not None:
                observation = msgspec.structs.replace(observation, revision=revision, steps=steps)
        except _UNSTORABLE as error:
            self._unreadable(told.given, error)
            return None
        if told.note is not None:
            self.set_aside(observation.external_id, told.note, None)
        return observation

    def set_aside(self, external_id: str | None, reason: str, raw: Any) -> None:
        """Keeps an item that could not be taken in; the same one is counted, not kept again."""
        text = _plain(raw if isinstance(raw, str) else _dump(raw))
        name = None if external_id is None else _plain(str(external_id))
        fingerprint = hashlib.blake2b((name or text).encode(), digest_size=16).hexdigest()
        self.quarantined.append(Quarantined(fingerprint, name, _plain(str(reason))[:2000], text[:65536]))

    def _told(self, observation: Observation) -> Told | None:
        try:
            name, former = observation.external_id.strip(), _name(observation.supersedes)
            if not name:
                raise ValueError("its external_id is blank")
            if name != observation.external_id or former != observation.supersedes or former == name:
                former = None if former == name else former
                observation = msgspec.structs.replace(observation, external_id=name, supersedes=former)
            _check_revision(observation.revision)
            told = _measured(observation)
            if len(told.text) > self._max_bytes:
                told = self._cut(told)
        except _UNSTORABLE as error:
            self._unreadable(observation, error)
            return None
        return told

    def _cut(self, told: Told) -> Told:
        """Without its metadata, when that makes it fit. Raises ValueError when it does not."""
        most = self._max_bytes // 2
        size = len(_json.encode(told.given.metadata))
        if size > most:
            note = f"metadata of {size} bytes left out; at most {most} are kept"
            told = _measured(msgspec.structs.replace(told.given, metadata={"left_out": note}))
            told.note = note
        if len(told.text) > self._max_bytes:
            raise ValueError(f"{len(told.text)} bytes, more than the {self._max_bytes} an observation may have")
        return told

    def _bounded(self, step: Step, told: Told) -> Step:
        if step.attempt > _MAX_ATTEMPT:
            raise ValueError(f"step {step.external_id!r} is at attempt {step.attempt}")
        if told.steps is None or len(told.steps) <= self._max_bytes or len(_json.encode(step)) <= self._max_bytes:
            return step
        told.note = f"inputs and outputs of step {step.external_id[:200]!r} left out: more than {self._max_bytes} bytes"
        step = msgspec.structs.replace(step, inputs=None, outputs=None)
        if len(_json.encode(step)) > self._max_bytes:
            raise ValueError(f"step {step.external_id[:200]!r} has more than {self._max_bytes} bytes")
        return step

    def _unreadable(self, observation: Observation, error: Exception) -> None:
        self.set_aside(observation.external_id, f"cannot be stored: {error}", repr(observation)[:2000])


def check(page: Page) -> None:
    """Raises PageRefused for what no adapter may send."""
    if not isinstance(page, Page):
        raise PageRefused(f"the feed gave {type(page).__name__} where a Page belongs")
    for observation in page.observations:
        if observation.__class__ is not Observation:
            raise PageRefused(f"the page holds {type(observation).__name__} where an Observation belongs")
    for partition, cursor in page.cursors.items():
        _check_cursor(partition, cursor)


def _check_cursor(partition: object, cursor: object) -> None:
    for what, value in (("name", partition), ("cursor", cursor)):
        if value is None and what == "cursor":
            continue
        if not isinstance(value, str):
            raise PageRefused(f"the {what} of partition {partition!r} is {type(value).__name__}; it must be text")
        if _plain(value) != value:
            raise PageRefused(f"the {what} of partition {partition!r} holds characters that no store keeps")
        size = len(value.encode())
        if size > MAX_CURSOR_BYTES:
            raise PageRefused(
                f"the {what} of partition {partition[:200]!r} has {size} bytes, more than {MAX_CURSOR_BYTES}; "  # type: ignore[index]
                "split it into more partitions"
            )


def _measured(observation: Observation) -> Told:
    revision, steps = observation.revision, observation.steps
    bare = observation
    if revision is not None or steps is not None:
        bare = msgspec.structs.replace(observation, revision=None, steps=None)
    text = _json.encode(bare)
    packed = None if steps is None or isinstance(steps, Unknown) else _json.encode(steps)
    digest = None
    if observation.complete:
        mark = b"" if steps is None else b"\0" + (b"unknown" if packed is None else packed)
        digest = hashlib.blake2b(text + mark, digest_size=16).digest()
    return Told(observation, text, packed, digest)


def _check_revision(revision: object) -> None:
    if revision is None:
        return
    if revision.__class__ is not Revision or type(revision.number) is not int or type(revision.epoch) is not str:
        raise ValueError(f"its revision is {revision!r}; give Revision(number, epoch) of a whole number and text")
    if _plain(revision.epoch) != revision.epoch:
        raise ValueError("its revision's epoch holds characters that no store keeps")


def _check_counts(observation: Observation) -> None:
    numbers = [observation.attempt, *(attempt.number for attempt in observation.attempts or ())]
    if not all(1 <= number <= _MAX_ATTEMPT for number in numbers):
        raise ValueError(f"attempts count from 1 to {_MAX_ATTEMPT}, not {numbers}")


def _name(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"supersedes is {value!r}; give the former external id")  # noqa: TRY004 - set aside, as all are
    return value.strip() or None


def _without_nul(text: bytes) -> bytes:
    """JSON without the character U+0000, which becomes U+FFFD."""
    return text if _NUL not in text else _json.encode(_replaced(msgspec.json.decode(text)))


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {_replaced(key): _replaced(one) for key, one in value.items()}
    return [_replaced(one) for one in value] if isinstance(value, list) else value


def _plain(text: str) -> str:
    """Text that any store keeps: no U+0000, no half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _dump(raw: Any) -> str:
    try:
        return _json.encode(raw).decode()
    except _UNSTORABLE:
        return repr(raw)
