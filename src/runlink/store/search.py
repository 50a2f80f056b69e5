"""Substring search over Runs (key, error) and instances (workflow, id, message), case-insensitive."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from runlink.store import tables

_RUN = tables.runs
_INSTANCE = tables.orchestration_instances


def run_search(_connection: sa.Connection, query: sa.Select[Any], text: str) -> sa.Select[Any]:
    """Runs whose correlation id or reason holds a text."""
    return query.where(_holds(text, _RUN.c.correlation_id, _RUN.c.error_summary, _RUN.c.cancellation_reason))


def instance_search(_connection: sa.Connection, query: sa.Select[Any], text: str) -> sa.Select[Any]:
    """Instances whose workflow, external id or message holds a text."""
    return query.where(_holds(text, _INSTANCE.c.workflow, _INSTANCE.c.external_id, _INSTANCE.c.message))


def _holds(text: str, *columns: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    return sa.or_(*(column.icontains(text, autoescape=True) for column in columns))
