"""Substring search over Runs (key, reasons) and instances (workflow, id, message), in any case. Listings come here.

Triggers keep the texts of a row together in one (`run_texts`, `instance_texts`), numbered as they came, and their
trigrams in an index: SQLite's FTS5, a GIN index over an array on PostgreSQL, where that needs no extension that
somebody would have to allow. What the index finds is compared with the text itself. So a page costs what it finds, and
comes in the order of the numbers. Three characters are the least an index can look up: a shorter text passes over the
texts, newest first, until the page is full.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from runlink.store import tables

_GRAM: Final = 3


def is_indexed(text: str) -> bool:
    """Whether an index can look a text up."""
    return len(text) >= _GRAM


def values(text: str) -> dict[str, str]:
    """The parameters of a search."""
    grams = dict.fromkeys(text[place : place + _GRAM] for place in range(len(text) - _GRAM + 1))
    quoted = (gram.replace('"', '""') for gram in grams)
    return {"searched": text, "grams": " AND ".join(f'"{gram}"' for gram in quoted)}


def _named(name: str) -> sa.BindParameter[str]:
    return sa.bindparam(name, type_=sa.Text)


@dataclass(frozen=True)
class Texts:
    """The texts of one kind of row. `key` names the row; `index` is what SQLite finds numbers in."""

    table: sa.Table
    key: sa.Column[Any]
    row: sa.Column[Any]
    index: sa.TableClause

    def narrowed(self, query: sa.Select[Any], dialect: str, *, indexed: bool) -> sa.Select[Any]:
        """Those whose text holds what is searched for."""
        text = self.table.c.text
        key: sa.ColumnElement[Any] = self.key
        if dialect == "sqlite":
            key = sa.literal_column(f"+{self.table.name}.{key.name}")  # no use looking texts up by the rows they are of
        place = sa.func.instr if dialect == "sqlite" else sa.func.strpos
        query = query.join(self.table, key == self.row)
        query = query.where(place(sa.func.lower(text), sa.func.lower(_named("searched"))) > 0)
        if not indexed:
            return query
        if dialect == "postgresql":
            return query.where(
                sa.func.runlink_trigrams(text).bool_op("@>")(sa.func.runlink_trigrams(_named("searched")))
            )
        found = sa.literal_column(self.index.name).bool_op("MATCH")(_named("grams"))
        return query.join(self.index, self.index.c.rowid == self.table.c.number).where(found)

    def paged(
        self, query: sa.Select[Any], dialect: str, before: sa.BindParameter[Any] | None, *, indexed: bool
    ) -> sa.Select[Any]:
        """In the order of their numbers, newest first; those before that of a row."""
        place = self.index.c.rowid if indexed and dialect == "sqlite" else self.table.c.number
        if before is not None:
            other = self.table.alias()
            number = sa.select(other.c.number).where(other.c[self.key.name] == before).scalar_subquery()
            query = query.where(place < number)
        return query.order_by(place.desc())


RUN_TEXTS: Final = Texts(
    tables.run_texts, tables.run_texts.c.run_id, tables.runs.c.id, sa.table("run_texts_index", sa.column("rowid"))
)
INSTANCE_TEXTS: Final = Texts(
    tables.instance_texts,
    tables.instance_texts.c.instance_id,
    tables.orchestration_instances.c.id,
    sa.table("instance_texts_index", sa.column("rowid")),
)
