"""What is known of an instance beside its present state; what Runs and instances are searched by."""

from __future__ import annotations

import sqlalchemy as sa

from runlink.store.tables.columns import metadata, status, times
from runlink.store.types import BigId, Json, UtcDateTime

instance_attempts = sa.Table(
    "instance_attempts",
    metadata,
    sa.Column("instance_id", sa.Uuid, sa.ForeignKey("orchestration_instances.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    status(),
    sa.Column("native_status", sa.Text),
    *times(),
    sa.Column("message", sa.Text),
    sa.Column("url", sa.Text),
)

instance_steps = sa.Table(
    "instance_steps",
    metadata,
    sa.Column("instance_id", sa.Uuid, sa.ForeignKey("orchestration_instances.id"), primary_key=True),
    sa.Column("external_id", sa.Text, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    status(),
    sa.Column("native_status", sa.Text),
    sa.Column("final", sa.Boolean),
    *times(),
    sa.Column("message", sa.Text),
    sa.Column("inputs", Json),
    sa.Column("outputs", Json),
    sa.Column("parent", sa.Text),
    sa.Column("digest", sa.LargeBinary, nullable=False),
)

observations = sa.Table(  # append-only: what was told, when, by which feed; the first row of an instance is whole
    "observations",
    metadata,
    sa.Column("id", BigId, sa.Identity(), primary_key=True),
    sa.Column("instance_id", sa.Uuid, sa.ForeignKey("orchestration_instances.id"), nullable=False),
    sa.Column("observed_at", UtcDateTime, nullable=False),  # when the read that told it began
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("feed", sa.String(20), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    status(),
    sa.Column("native_status", sa.Text),
    sa.Column("digest", sa.LargeBinary),
    sa.Column("changes", Json),
    sa.Index("ix_observations_instance_id", "instance_id", "id"),
)

waiting_keys = sa.Table(  # keys that rules found in instances and that no Run had yet
    "waiting_keys",
    metadata,
    sa.Column("instance_id", sa.Uuid, sa.ForeignKey("orchestration_instances.id"), primary_key=True),
    sa.Column("rule", sa.Text, primary_key=True),
    sa.Column("automation_id", sa.Uuid, sa.ForeignKey("automations.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Index("ix_waiting_keys_automation_id_key", "automation_id", "key"),
)

correlations = sa.Table(  # values by which rules know an instance's parent in another engine, from either side
    "correlations",
    metadata,
    sa.Column("topic", sa.String(32), primary_key=True),  # what is compared: a digest of the rule's `parent`
    sa.Column("side", sa.String(6), primary_key=True),  # "parent" or "child"
    sa.Column("value", sa.Text, primary_key=True),
    sa.Column("instance_id", sa.Uuid, sa.ForeignKey("orchestration_instances.id"), primary_key=True),
    sa.Index("ix_correlations_instance_id", "instance_id"),
)

# what is searched for (store.search): kept by triggers, numbered as it came

run_texts = sa.Table(
    "run_texts",
    metadata,
    sa.Column("number", BigId, sa.Identity(), primary_key=True),
    sa.Column("run_id", sa.Uuid, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.UniqueConstraint("run_id"),
)

instance_texts = sa.Table(
    "instance_texts",
    metadata,
    sa.Column("number", BigId, sa.Identity(), primary_key=True),
    sa.Column("instance_id", sa.Uuid, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.UniqueConstraint("instance_id"),
)

# what counts for nothing (the inbox): kept by triggers; what stands there may have got a link just now

unlinked_runs = sa.Table("unlinked_runs", metadata, sa.Column("run_id", sa.Uuid, primary_key=True))
unlinked_instances = sa.Table("unlinked_instances", metadata, sa.Column("instance_id", sa.Uuid, primary_key=True))
