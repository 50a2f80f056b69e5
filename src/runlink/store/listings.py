"""What the API lists and shows: every field of a row with the names of what it belongs to, newest first, in pages.

A listing names its filters. Each has an index in the order of the pages (docs/explanation/performance.md); what is
searched for is looked up in `search`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from runlink.store import search, tables
from runlink.store.prepared import Prepared, Row
from runlink.store.search import INSTANCE_TEXTS, RUN_TEXTS, Texts

_AUTOMATION = tables.automations
_BATCH = tables.batches
_ITEM = tables.items
_RUN = tables.runs
_BATCH_EXECUTION = tables.batch_executions
_ITEM_EXECUTION = tables.item_executions
_ENGINE = tables.engines
_INSTANCE = tables.orchestration_instances
_LINK = tables.run_orchestrations
_HIDDEN = frozenset({"digest", "attempt_offset", "missing_since", "steps_state", "quiet_until", "silent_at"})

Query = sa.Select[Any]
Filter = Callable[[Query, sa.BindParameter[Any]], Query]


def _columns(table: sa.Table) -> list[sa.ColumnElement[Any]]:
    return [column for column in table.c if column.name not in _HIDDEN]


def _is(column: sa.ColumnElement[Any]) -> Filter:
    return lambda query, value: query.where(column == value)


def _count(table: sa.Table, mine: sa.ColumnElement[Any], theirs: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    count = sa.select(sa.func.count()).select_from(table).where(mine == theirs, table.c.is_active)
    return count.correlate(theirs.table).scalar_subquery()


def _named(column: sa.ColumnElement[Any], table: sa.Table) -> Filter:
    """By the name of what it belongs to: looked up first, so that the index over the id is used, in its order."""

    def narrowed(query: Query, name: sa.BindParameter[Any]) -> Query:
        found = sa.select(table.c.id).where(table.c.name == name, table.c.is_active).limit(1)
        return query.where(column == found.scalar_subquery())

    return narrowed


def _of_workflow(query: Query, workflow: sa.BindParameter[Any]) -> Query:
    """Of whichever engine: the index begins with the engine, and there are few."""
    return query.where(_INSTANCE.c.workflow == workflow, _INSTANCE.c.engine_id.in_(sa.select(_ENGINE.c.id)))


_HAS_LINK = sa.exists().where(_LINK.c.orchestration_instance_id == _INSTANCE.c.id, _LINK.c.is_active)


def _linked(query: Query, wanted: sa.BindParameter[Any]) -> Query:
    return query.where(sa.case((_HAS_LINK, sa.true()), else_=sa.false()) == wanted)


def _of_run(query: Query, run_id: sa.BindParameter[Any]) -> Query:
    mine = sa.select(_LINK.c.orchestration_instance_id).where(_LINK.c.run_id == run_id, _LINK.c.is_active)
    return query.where(_INSTANCE.c.id.in_(mine))


class Listing:
    """One kind of row. `filters` are by the names that the API gives them; with `texts` there is `search` beside.
    `added` is what is not of the row itself and may be set on it later."""

    def __init__(
        self,
        table: sa.Table,
        query: Query,
        filters: Mapping[str, Filter],
        texts: Texts | None = None,
        added: Sequence[str] = (),
    ) -> None:
        self.table = table
        self.added = added
        self.query = query.where(table.c.is_active)
        self.filters = filters
        self.texts = texts


LISTINGS: Mapping[str, Listing] = {
    "automations": Listing(_AUTOMATION, sa.select(*_columns(_AUTOMATION)), {"name": _is(_AUTOMATION.c.name)}),
    "batches": Listing(
        _BATCH,
        sa.select(
            *_columns(_BATCH),
            _AUTOMATION.c.name.label("automation"),
            _count(_ITEM, _ITEM.c.batch_id, _BATCH.c.id).label("items"),
        ).join(_AUTOMATION, _AUTOMATION.c.id == _BATCH.c.automation_id),
        {
            "name": _is(_BATCH.c.name),
            "automation": _named(_BATCH.c.automation_id, _AUTOMATION),
            "automation_id": _is(_BATCH.c.automation_id),
        },
    ),
    "items": Listing(_ITEM, sa.select(*_columns(_ITEM)), {"batch_id": _is(_ITEM.c.batch_id)}),
    "runs": Listing(
        _RUN,
        sa.select(
            *_columns(_RUN),
            _AUTOMATION.c.name.label("automation"),
            _count(_LINK, _LINK.c.run_id, _RUN.c.id).label("instances"),
        ).join(_AUTOMATION, _AUTOMATION.c.id == _RUN.c.automation_id),
        {
            "automation": _named(_RUN.c.automation_id, _AUTOMATION),
            "automation_id": _is(_RUN.c.automation_id),
            "status": _is(_RUN.c.status),
            "correlation_id": _is(_RUN.c.correlation_id),
        },
        RUN_TEXTS,
        added=("trail",),
    ),
    "batch_executions": Listing(
        _BATCH_EXECUTION,
        sa.select(
            *_columns(_BATCH_EXECUTION),
            _BATCH.c.name.label("batch"),
            _count(_ITEM_EXECUTION, _ITEM_EXECUTION.c.batch_execution_id, _BATCH_EXECUTION.c.id).label("items"),
        ).join(_BATCH, _BATCH.c.id == _BATCH_EXECUTION.c.batch_id),
        {
            "run_id": _is(_BATCH_EXECUTION.c.run_id),
            "batch_id": _is(_BATCH_EXECUTION.c.batch_id),
            "status": _is(_BATCH_EXECUTION.c.status),
        },
    ),
    "item_executions": Listing(
        _ITEM_EXECUTION,
        sa.select(
            *_columns(_ITEM_EXECUTION),
            _ITEM.c.sequence_number,
            _ITEM.c.batch_id,
            _BATCH.c.name.label("batch"),
        )
        .join(_ITEM, _ITEM.c.id == _ITEM_EXECUTION.c.item_id)
        .join(_BATCH, _BATCH.c.id == _ITEM.c.batch_id),
        {
            "run_id": _is(_ITEM_EXECUTION.c.run_id),
            "batch_execution_id": _is(_ITEM_EXECUTION.c.batch_execution_id),
            "item_id": _is(_ITEM_EXECUTION.c.item_id),
            "status": _is(_ITEM_EXECUTION.c.status),
        },
    ),
    "engines": Listing(
        _ENGINE,
        sa.select(*_columns(_ENGINE)),
        {"name": _is(_ENGINE.c.name)},
        added=("feeds", "open", "budget"),
    ),
    "instances": Listing(
        _INSTANCE,
        sa.select(*_columns(_INSTANCE), _ENGINE.c.name.label("engine")).join(
            _ENGINE, _ENGINE.c.id == _INSTANCE.c.engine_id
        ),
        {
            "engine": _named(_INSTANCE.c.engine_id, _ENGINE),
            "engine_id": _is(_INSTANCE.c.engine_id),
            "workflow": _of_workflow,
            "status": _is(_INSTANCE.c.status),
            "external_id": _is(_INSTANCE.c.external_id),
            "linked": _linked,
            "run_id": _of_run,
        },
        INSTANCE_TEXTS,
    ),
    "links": Listing(
        _LINK,
        sa.select(*_columns(_LINK)),
        {"run_id": _is(_LINK.c.run_id), "instance_id": _is(_LINK.c.orchestration_instance_id)},
    ),
}


def _values(filters: Mapping[str, Any], before: UUID | None) -> dict[str, Any]:
    given = {f"is_{name}": value for name, value in filters.items() if value is not None}
    searched = search.values(filters["search"]) if filters.get("search") is not None else {}
    return given | searched | {"before": before}


@lru_cache(maxsize=1000)
def _prepared(
    dialect: sa.Dialect, kind: str, names: frozenset[str], paged: bool, indexed: bool, limit: int
) -> Prepared:
    listing = LISTINGS[kind]
    # as a number, not a parameter: PostgreSQL keeps no plan for a limit that it does not know
    query = listing.query.limit(sa.literal_column(str(int(limit)), sa.Integer))
    before = sa.bindparam("before", type_=sa.Uuid)
    for name in sorted(names - {"search"}):
        query = listing.filters[name](query, sa.bindparam(f"is_{name}"))
    if listing.texts is not None and "search" in names:
        query = listing.texts.narrowed(query, dialect.name, indexed=indexed)
        query = listing.texts.paged(query, dialect.name, before if paged else None, indexed=indexed)
    else:
        query = query.order_by(listing.table.c.id.desc())
        query = query.where(listing.table.c.id < before) if paged else query
    return Prepared(query, dialect, listing.added)


@lru_cache(maxsize=100)
def _prepared_one(dialect: sa.Dialect, kind: str) -> Prepared:
    listing = LISTINGS[kind]
    return Prepared(
        listing.query.where(listing.table.c.id == sa.bindparam("id", type_=sa.Uuid)), dialect, listing.added
    )


class Listings:
    """Pages of rows, and single rows, within a unit of work."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def page(self, kind: str, filters: Mapping[str, Any], *, before: UUID | None = None, limit: int = 50) -> list[Row]:
        """Active rows, newest first; a filter whose value is None does not count."""
        return self._prepared(kind, filters, before, limit).rows(self._connection, _values(filters, before))

    def plan(self, kind: str, filters: Mapping[str, Any], *, before: UUID | None = None, limit: int = 50) -> list[str]:
        """How the database would find a page, a step each."""
        statement = self._prepared(kind, filters, before, limit)
        return statement.plan(self._connection, _values(filters, before))

    def _prepared(self, kind: str, filters: Mapping[str, Any], before: UUID | None, limit: int) -> Prepared:
        names = frozenset(name for name, value in filters.items() if value is not None)
        indexed = search.is_indexed(filters.get("search") or "")
        return _prepared(self._connection.dialect, kind, names, before is not None, indexed, limit)

    def items(self, batch_id: UUID, *, after: int | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """Items of a batch, by their number."""
        query = LISTINGS["items"].query.where(_ITEM.c.batch_id == batch_id)
        if after is not None:
            query = query.where(_ITEM.c.sequence_number > after)
        query = query.order_by(_ITEM.c.sequence_number).limit(limit)
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def executed_items(
        self, batch_execution_id: UUID, *, status: str | None = None, after: int | None = None, limit: int = 50
    ) -> list[dict[str, Any]]:
        """Executions of the items of one batch execution, by their items' numbers."""
        query = LISTINGS["item_executions"].query.where(_ITEM_EXECUTION.c.batch_execution_id == batch_execution_id)
        if status is not None:
            query = query.where(_ITEM_EXECUTION.c.status == status)
        if after is not None:
            query = query.where(_ITEM.c.sequence_number > after)
        query = query.order_by(_ITEM.c.sequence_number).limit(limit)
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def one(self, kind: str, entity_id: UUID) -> Row | None:
        """An active row; None when there is none."""
        rows = _prepared_one(self._connection.dialect, kind).rows(self._connection, {"id": entity_id})
        return rows[0] if rows else None

    def events(
        self,
        *,
        after: int | None = None,
        run_id: UUID | None = None,
        event_type: str | None = None,
        limit: int = 50,
    ) -> list[dict[str, Any]]:
        """Events that have a position, in its order."""
        table = tables.outbox
        names = ("position", "type", "run_id", "occurred_at", "recorded_at", "data")
        query = sa.select(*(table.c[name] for name in names)).where(table.c.position.is_not(None))
        for column, value in ((table.c.run_id, run_id), (table.c.type, event_type)):
            if value is not None:
                query = query.where(column == value)
        if after is not None:
            query = query.where(table.c.position > after)
        return [dict(row) for row in self._connection.execute(query.order_by(table.c.position).limit(limit)).mappings()]
