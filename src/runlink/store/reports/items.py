"""How steps fit the rules that make items of them, for `runlink items drift` and `status`. A part of `Reports`."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from runlink.store import tables

_FIT = tables.item_fits
_ENGINE = tables.engines
_INSTANCE = tables.orchestration_instances


class ItemReports:
    """Workflows and their item rules."""

    _connection: sa.Connection

    def items_drift(
        self, *, engine: str | None = None, fitting_too: bool = False, limit: int = 1000
    ) -> list[dict[str, Any]]:
        """Workflows whose steps do not fit their rule, longest since first; with those that fit behind when asked."""
        query = (
            sa.select(_ENGINE.c.name.label("engine"), _FIT.c.workflow, _FIT.c.rule, _FIT.c.drifted_since)
            .add_columns(_FIT.c.reason, _FIT.c.counted, _FIT.c.unfit, _FIT.c.differing, _FIT.c.seen_at)
            .add_columns(_INSTANCE.c.external_id, _FIT.c.instance_id)
            .join(_ENGINE, _ENGINE.c.id == _FIT.c.engine_id)
            .join(_INSTANCE, _INSTANCE.c.id == _FIT.c.instance_id)
            .order_by(
                _FIT.c.drifted_since.is_(None), _FIT.c.drifted_since, _ENGINE.c.name, _FIT.c.workflow, _FIT.c.rule
            )
            .limit(limit)
        )
        if not fitting_too:
            query = query.where(_FIT.c.drifted_since.is_not(None))
        if engine is not None:
            query = query.where(_ENGINE.c.name == engine)
        return [dict(row) for row in self._connection.execute(query).mappings()]
