"""The tables of the ten entities (docs/reference/domain-entities.md).

A comment marks the columns that belong to the host's bookkeeping and not to the entity.
"""

from __future__ import annotations

import sqlalchemy as sa

from runlink.store.tables.columns import entity, metadata, partial_index, ref, status, times
from runlink.store.types import Json, UtcDateTime

automations = entity(
    "automations",
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("batch_schema", Json),
    sa.Column("item_schema", Json),
)
partial_index("ix_automation_name_active", sa.text("is_active"), automations.c.name, unique=True)

batches = entity(
    "batches",
    ref("automation_id", "automations"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("payload", Json),
    sa.UniqueConstraint("automation_id", "name"),
)

items = entity(
    "items",
    ref("batch_id", "batches"),
    sa.Column(
        "sequence_number", sa.Integer, sa.CheckConstraint("sequence_number >= 0", name="sequence"), nullable=False
    ),
    sa.Column("payload", Json),
    sa.UniqueConstraint("batch_id", "sequence_number"),
)

runs = entity(
    "runs",
    ref("automation_id", "automations"),
    sa.Column("correlation_id", sa.Text),
    sa.Column("cancellation_reason", sa.Text),
    sa.Column("error_summary", sa.Text),
    status(),
    *times(),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
    sa.Column("silent_since", UtcDateTime),
    # bookkeeping: when a Run whose instances have all ended may complete
    sa.Column("quiet_until", UtcDateTime),
    sa.Index("ix_runs_correlation_id", "correlation_id"),
    sa.Index("ix_runs_automation_id", "automation_id", "id"),
    sa.Index("ix_runs_status", "status", "id"),
)
partial_index("ix_runs_quiet_until", runs.c.quiet_until.is_not(None), runs.c.quiet_until)

sa.Index("ix_runs_created_at", runs.c.created_at, runs.c.id)

batch_executions = entity(
    "batch_executions",
    ref("run_id", "runs"),
    ref("batch_id", "batches"),
    status(),
    *times(),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
    sa.UniqueConstraint("run_id", "batch_id"),
    sa.Index("ix_batch_executions_batch_id", "batch_id"),
)

item_executions = entity(
    "item_executions",
    ref("run_id", "runs"),
    ref("batch_execution_id", "batch_executions"),
    ref("item_id", "items"),
    sa.Column("result_payload", Json),
    sa.Column("error_message", sa.Text),
    status(),
    *times(),
    sa.Column("attempt_count", sa.Integer, nullable=False),
    sa.Column("max_attempts", sa.Integer),
    sa.Index("ix_item_executions_run_id", "run_id"),
    sa.Index("ix_item_executions_batch_execution_id", "batch_execution_id"),
    sa.Index("ix_item_executions_item_id", "item_id"),
)

item_state_history = sa.Table(  # append-only: a trigger refuses UPDATE and DELETE
    "item_state_history",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    ref("item_execution_id", "item_executions"),
    status("previous_status", nullable=True),
    status("new_status"),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(200)),
    sa.Index("ix_item_state_history_item_execution_id", "item_execution_id", "id"),
)

engines = entity(
    "engines",
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("url", sa.Text),
    sa.Column("product", sa.Text),
    sa.Column("product_version", sa.Text),
    sa.UniqueConstraint("name"),
)

orchestration_instances = entity(
    "orchestration_instances",
    ref("engine_id", "engines"),
    sa.Column("external_id", sa.Text, nullable=False),
    sa.Column("duration_seconds", sa.Float),
    sa.Column("instance_metadata", Json),
    status(),
    *times(),
    sa.Column("workflow", sa.Text),
    sa.Column("native_status", sa.Text),
    sa.Column("url", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
    sa.Column("revision", sa.Text),
    sa.Column("parent_external_id", sa.Text),
    sa.Column("parameters", Json),
    sa.Column("labels", Json),
    sa.Column("queued_at", UtcDateTime),
    sa.Column("observed_at", UtcDateTime),
    sa.Column("vanished_at", UtcDateTime),
    # bookkeeping of ingest
    sa.Column("digest", sa.LargeBinary),  # of the last complete observation; NULL makes the next one be compared
    sa.Column("attempt_offset", sa.Integer, nullable=False, server_default="0"),  # attempts the engine did not count
    sa.Column("missing_since", UtcDateTime),  # first time the engine said it has no such instance
    sa.Column("steps_state", sa.String(10)),  # NULL not read, 'read' (of an ended instance: 'final'), 'unknown'
    sa.UniqueConstraint("engine_id", "external_id"),
    sa.Index("ix_orchestration_instances_status", "status", "id"),
    sa.Index("ix_orchestration_instances_workflow", "engine_id", "workflow", "id"),
    sa.Index("ix_orchestration_instances_engine_id", "engine_id", "id"),
)
partial_index(
    "ix_orchestration_instances_parent",
    orchestration_instances.c.parent_external_id.is_not(None),
    orchestration_instances.c.engine_id,
    orchestration_instances.c.parent_external_id,
)
IS_OPEN = sa.text("status IN ('PENDING', 'PROCESSING', 'RETRYING') AND vanished_at IS NULL")
partial_index(
    "ix_orchestration_instances_open", IS_OPEN, orchestration_instances.c.engine_id, orchestration_instances.c.id
)

run_orchestrations = entity(
    "run_orchestrations",
    ref("run_id", "runs"),
    ref("orchestration_instance_id", "orchestration_instances"),
    sa.Column("attached_at", UtcDateTime, nullable=False),
    sa.Column("rule", sa.Text),
    sa.Column("key", sa.Text),  # what the rule found in the instance
    sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("run_id", "orchestration_instance_id"),
    sa.Index("ix_run_orchestrations_orchestration_instance_id", "orchestration_instance_id"),
)
