"""An operation of the API: what it takes and gives, declared once. The specification is made from it (`openapi`), and
requests are checked against the very same schemas here, so that the two cannot differ.

Whoever adds to the API declares an Operation in `api/` with a synchronous handler; it runs on a thread, in one
transaction, and may run more than once.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from jsonschema import Draft202012Validator, FormatChecker

from runlink.application.problems import problems, suggestion
from runlink.http.identity import Principal
from runlink.http.problems import Problem
from runlink.http.service import Service
from runlink.store import SqlUnitOfWork

MAX_DEPTH: Final = 64
_INT64: Final = range(-(2**63), 2**63)
_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

formats = FormatChecker(formats=())


def _is_uuid(value: object) -> bool:
    return not isinstance(value, str) or (len(value) == 36 and str(UUID(value)) == value.lower())


def _moment(text: str) -> datetime:
    """A time of RFC 3339; ValueError for what is none."""
    if not _RFC_3339.fullmatch(text):
        raise ValueError("is not a time with its offset, like 2026-01-05T10:00:00Z (in a query + is %2B)")
    return datetime.fromisoformat(text.upper()).astimezone(UTC)


def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or _moment(value) is not None


formats.checks("uuid", raises=ValueError)(_is_uuid)
formats.checks("date-time", raises=(ValueError, OverflowError))(_is_moment)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """Something in the path, the query or a header."""

    name: str
    where: str
    schema: Mapping[str, Any]
    description: str
    required: bool = False
    default: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, checked."""

    service: Service
    principal: Principal
    given: Mapping[str, Any]
    body: Any
    body_bytes: bytes
    address: str

    def __getitem__(self, name: str) -> Any:
        """A parameter; its default where it was not given."""
        return self.given[name]

    def id(self, name: str = "id") -> UUID:
        """A parameter that is an id."""
        return UUID(self.given[name])

    def optional_id(self, name: str) -> UUID | None:
        """A parameter that is an id, or was left out."""
        return None if self.given[name] is None else UUID(self.given[name])

    def moment(self, name: str) -> datetime | None:
        """A parameter that is a time, or was left out."""
        return None if self.given[name] is None else _moment(self.given[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a handler gives.

    version   the ETag
    subject   what was changed, for the audit: its kind and id; None when nothing was
    """

    body: Any
    version: int | None = None
    status: int | None = None
    location: str | None = None
    subject: tuple[str, UUID] | None = None
    details: Mapping[str, Any] | None = None


Handler = Callable[[SqlUnitOfWork, Call], Answer]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path.

    name       the operationId, and the action in the audit
    body       the schema of the request's body; None when it has none
    problems   the types of problems beside those that any operation has
    glances    whether each statement of a GET may see its own moment (`SqlStore.glance`)
    again      what an answer of 200 means to a request that makes something; empty where there is none
    """

    method: str
    path: str
    name: str
    tag: str
    summary: str
    handler: Handler
    answer: Mapping[str, Any]
    scope: str = "read"
    status: int = 200
    description: str = ""
    parameters: Sequence[Parameter] = ()
    body: Mapping[str, Any] | None = None
    problems: Sequence[str] = ()
    versioned: bool = False
    glances: bool = False
    again: str = ""
    writes: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "writes", self.method != "GET")

    @cached_property
    def _validators(self) -> Mapping[str, Draft202012Validator]:
        return {p.name: Draft202012Validator(p.schema, format_checker=formats) for p in self.parameters}

    @cached_property
    def _body_validator(self) -> Draft202012Validator:
        return Draft202012Validator(self.body or {}, format_checker=formats)

    def read_parameters(
        self, path: Mapping[str, str], query: Sequence[tuple[str, str]], headers: Mapping[str, str]
    ) -> dict[str, Any]:
        """Every parameter, checked. Raises Problem with all that is wrong."""
        wrong: list[str] = []
        given: dict[str, str] = {}
        for name, value in query:
            if name in given:
                wrong.append(f"{name}: is given more than once")
            given[name] = value
        known = [p.name for p in self.parameters if p.where == "query"]
        wrong += [f"{name}: unknown parameter{suggestion(name, known)}" for name in given if name not in known]
        found: dict[str, Any] = {}
        for parameter in self.parameters:
            source: Mapping[str, str] = {"path": path, "query": given, "header": headers}[parameter.where]
            text = source.get(parameter.name.lower() if parameter.where == "header" else parameter.name)
            found[parameter.name] = self._parameter(parameter, text, wrong)
        if wrong:
            raise Problem("invalid-request", f"parameters: {'; '.join(wrong)}", errors=wrong)
        return found

    def _parameter(self, parameter: Parameter, text: str | None, wrong: list[str]) -> Any:
        if text is None:
            if parameter.required and parameter.name == "If-Match":
                raise Problem("version-required", 'If-Match must carry the ETag of what is to be changed: "3"')
            if parameter.required:
                wrong.append(f"{parameter.name}: is missing")
            return parameter.default
        try:
            value = _converted(text, parameter.schema)
        except ValueError as error:
            wrong.append(f"{parameter.name}: {error}")
            return None
        wrong += problems(self._validators[parameter.name].iter_errors(value), (parameter.name,))
        return value

    @property
    def demands_body(self) -> bool:
        """Whether it can do nothing without a body: one that would be empty may be left out."""
        return self.body is not None and not self._body_validator.is_valid({})

    def read_body(self, data: bytes, media_type: str) -> Any:
        """The body, checked. Raises Problem."""
        if self.body is None:
            if data:
                raise Problem("invalid-request", "this takes no body")
            return None
        if not data and not self.demands_body:
            return {}
        if media_type.partition(";")[0].strip().lower() != "application/json":
            raise Problem("unsupported-media-type", "the body must be application/json")
        try:
            value = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
            raise Problem("invalid-request", f"the body is not JSON: {reason}") from None
        unfit = unstorable(value)
        if unfit is not None:
            raise Problem("refused", f"the body {unfit}")
        wrong = problems(self._body_validator.iter_errors(value))
        if wrong:
            raise Problem("invalid-request", f"the body: {'; '.join(wrong)}"[:2000], errors=wrong[:50])
        return value


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _converted(text: str, schema: Mapping[str, Any]) -> Any:
    if "\x00" in text or (not text.isascii() and any("\ud800" <= c <= "\udfff" or c == "\ufffd" for c in text)):
        raise ValueError("is not readable text")
    kind = schema.get("type")
    if kind == "integer":
        if not text.removeprefix("-").isdecimal() or not text.isascii() or len(text) > 19:
            raise ValueError("is not a whole number")
        return int(text)
    if kind == "boolean":
        if text not in ("true", "false"):
            raise ValueError("is not true or false")
        return text == "true"
    return text


def unstorable(value: Any, depth: int = 0) -> str | None:
    """Why a JSON value cannot be kept in a database, as the end of a sentence; None when it can."""
    if depth > MAX_DEPTH:
        return f"is nested deeper than {MAX_DEPTH} levels"
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= c <= "\udfff" for c in value if c > "\ud7ff"):
            return "holds text with a NUL or half a character"
    elif isinstance(value, float):
        if not math.isfinite(value):
            return "holds a number that is too large"
    elif isinstance(value, int):
        if value not in _INT64:
            return "holds a whole number of more than 64 bits"
    elif isinstance(value, list | dict):
        parts = value if isinstance(value, list) else (*value.keys(), *value.values())
        return next((reason for part in parts if (reason := unstorable(part, depth + 1))), None)
    return None


NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
