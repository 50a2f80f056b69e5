"""Column types that read and write the same values on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect


def to_text(value: datetime) -> str:
    """The form in which SQLite keeps a time: fixed width, so that text order is time order."""
    return (value if value.tzinfo is UTC else value.astimezone(UTC)).isoformat(timespec="microseconds")


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware time in UTC: `timestamptz` on PostgreSQL, fixed-width ISO 8601 text on SQLite (whose own DATETIME hands
    back naive values). A naive value is refused."""

    impl = sa.String(32)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.DateTime(timezone=True))
        return dialect.type_descriptor(sa.String(32))

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        postgresql = dialect.name == "postgresql"

        def bind(value: datetime | None) -> Any:
            if value is None:
                return None
            if value.tzinfo is None:
                raise ValueError(f"{value!r} has no time zone; the store keeps aware times only")
            return value if postgresql else to_text(value)

        return bind

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:  # noqa: ARG002
        if dialect.name == "postgresql":
            return lambda value: None if value is None else value.astimezone(UTC)
        return lambda value: None if value is None else datetime.fromisoformat(value)


class Json(sa.types.TypeDecorator[Any]):
    """A JSON document: jsonb on PostgreSQL, text on SQLite (whose JSON columns have numeric affinity and would turn a
    document that is a number into another one). None is SQL NULL."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.JSONB(none_as_null=True))
        return dialect.type_descriptor(sa.Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return value if value is None or dialect.name == "postgresql" else msgspec.json.encode(value).decode()

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return value if value is None or dialect.name == "postgresql" else msgspec.json.decode(value)


BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""A number the database assigns; SQLite does so for INTEGER keys only."""
