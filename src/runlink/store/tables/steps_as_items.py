"""Steps as items (docs/reference/items.md)."""

from __future__ import annotations

import sqlalchemy as sa

from runlink.store.tables.columns import metadata, ref
from runlink.store.types import UtcDateTime

item_keys = sa.Table(  # by what an item is known to a rule that gives it no number
    "item_keys",
    metadata,
    sa.Column("batch_id", sa.Uuid, sa.ForeignKey("batches.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    ref("item_id", "items"),
    sa.Index("ix_item_keys_item_id", "item_id"),
)

item_steps = sa.Table(  # which step of an instance is which item for a Run; of one that does not fit, why
    "item_steps",
    metadata,
    sa.Column("instance_id", sa.Uuid, sa.ForeignKey("orchestration_instances.id"), primary_key=True),
    sa.Column("external_id", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Uuid, sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("rule", sa.Text, nullable=False),
    ref("item_id", "items", nullable=True),
    sa.Column("max_attempts", sa.Integer),  # of the engine's policy, where the rule knows it
    sa.Column("differs", sa.Text),  # what of the stored payloads is not as the rule gives it
    sa.Column("problem", sa.Text),
    sa.Index("ix_item_steps_item_id", "item_id", "run_id"),
)

item_fits = sa.Table(  # how the steps of a workflow fit a rule: as the instance begun last shows it
    "item_fits",
    metadata,
    sa.Column("engine_id", sa.Uuid, sa.ForeignKey("engines.id"), primary_key=True),
    sa.Column("workflow", sa.Text, primary_key=True),
    sa.Column("rule", sa.Text, primary_key=True),
    ref("instance_id", "orchestration_instances"),
    sa.Column("begun_at", UtcDateTime, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
    sa.Column("drifted_since", UtcDateTime),  # NULL while it fits
    sa.Column("reason", sa.Text),
    sa.Column("counted", sa.Integer, nullable=False),
    sa.Column("unfit", sa.Integer, nullable=False),
    sa.Column("differing", sa.Integer, nullable=False),
)
