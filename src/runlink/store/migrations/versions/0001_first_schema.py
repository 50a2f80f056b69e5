"""The first schema: the ten entities, and what the one write path needs."""

import sqlalchemy as sa
from alembic import op

from runlink.store.types import BigId, Json, UtcDateTime

revision = "0001"
down_revision = None


def _one_of_the_statuses(table: str, column: str) -> sa.CheckConstraint:
    statuses = "'PENDING', 'PROCESSING', 'COMPLETED', 'FAILED', 'RETRYING', 'CANCELLED'"
    return sa.CheckConstraint(f"{column} IN ({statuses})", name=op.f(f"ck_{table}_{column}"))


def upgrade() -> None:
    op.create_table(
        "automations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("batch_schema", Json, nullable=True),
        sa.Column("item_schema", Json, nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=True),
        sa.Column("updated_by", sa.String(length=200), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_automations")),
    )
    op.create_index(
        "ix_automation_name_active",
        "automations",
        ["name"],
        unique=True,
        sqlite_where=sa.text("is_active"),
        postgresql_where=sa.text("is_active"),
    )
    op.create_table(
        "engines",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("product", sa.Text(), nullable=True),
        sa.Column("product_version", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=True),
        sa.Column("updated_by", sa.String(length=200), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_engines")),
        sa.UniqueConstraint("name", name=op.f("uq_engines_name")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("taken_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "outbox",
        sa.Column("sequence", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("type", sa.String(length=50), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("occurred_at", UtcDateTime, nullable=False),
        sa.Column("recorded_at", UtcDateTime, nullable=False),
        sa.Column("data", Json, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_outbox")),
        sa.UniqueConstraint("position", name=op.f("uq_outbox_position")),
    )
    op.create_index("ix_outbox_recorded_at", "outbox", ["recorded_at"], unique=False)
    op.create_index("ix_outbox_run_id", "outbox", ["run_id", "sequence"], unique=False)
    op.create_index(
        "ix_outbox_unplaced",
        "outbox",
        ["sequence"],
        unique=False,
        sqlite_where=sa.text("position IS NULL"),
        postgresql_where=sa.text("position IS NULL"),
    )
    op.create_table(
        "subscribers",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retry_at", UtcDateTime, nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_subscribers")),
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("automation_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("payload", Json, nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=True),
        sa.Column("updated_by", sa.String(length=200), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["automation_id"], ["automations.id"], name=op.f("fk_batches_automation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        sa.UniqueConstraint("automation_id", "name", name=op.f("uq_batches_automation_id_name")),
    )
    op.create_table(
        "feed_cursors",
        sa.Column("engine_id", sa.Uuid(), nullable=False),
        sa.Column("feed", sa.String(length=20), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.ForeignKeyConstraint(["engine_id"], ["engines.id"], name=op.f("fk_feed_cursors_engine_id")),
        sa.PrimaryKeyConstraint("engine_id", "feed", "partition", name=op.f("pk_feed_cursors")),
    )
    op.create_table(
        "feeds",
        sa.Column("engine_id", sa.Uuid(), nullable=False),
        sa.Column("feed", sa.String(length=20), nullable=False),
        sa.Column("baseline_at", UtcDateTime, nullable=True),
        sa.Column("state", sa.String(length=20), server_default="new", nullable=False),
        sa.Column("since", UtcDateTime, nullable=True),
        sa.Column("last_success_at", UtcDateTime, nullable=True),
        sa.Column("last_news_at", UtcDateTime, nullable=True),
        sa.Column("relists", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_duration_s", sa.Float(), nullable=True),
        sa.Column("requests", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("skew_s", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["engine_id"], ["engines.id"], name=op.f("fk_feeds_engine_id")),
        sa.PrimaryKeyConstraint("engine_id", "feed", name=op.f("pk_feeds")),
    )
    op.create_table(
        "orchestration_instances",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("engine_id", sa.Uuid(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("duration_seconds", sa.Float(), nullable=True),
        sa.Column("instance_metadata", Json, nullable=True),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=True),
        sa.Column("finished_at", UtcDateTime, nullable=True),
        sa.Column("workflow", sa.Text(), nullable=True),
        sa.Column("native_status", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("parent_external_id", sa.Text(), nullable=True),
        sa.Column("parameters", Json, nullable=True),
        sa.Column("labels", Json, nullable=True),
        sa.Column("queued_at", UtcDateTime, nullable=True),
        sa.Column("observed_at", UtcDateTime, nullable=True),
        sa.Column("vanished_at", UtcDateTime, nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("attempt_offset", sa.Integer(), server_default="0", nullable=False),
        sa.Column("missing_since", UtcDateTime, nullable=True),
        sa.Column("steps_state", sa.String(length=10), nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=True),
        sa.Column("updated_by", sa.String(length=200), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["engine_id"], ["engines.id"], name=op.f("fk_orchestration_instances_engine_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orchestration_instances")),
        sa.UniqueConstraint("engine_id", "external_id", name=op.f("uq_orchestration_instances_engine_id_external_id")),
        _one_of_the_statuses("orchestration_instances", "status"),
    )
    op.create_index(
        "ix_orchestration_instances_open",
        "orchestration_instances",
        ["engine_id", "id"],
        unique=False,
        sqlite_where=sa.text("status IN ('PENDING', 'PROCESSING', 'RETRYING') AND vanished_at IS NULL"),
        postgresql_where=sa.text("status IN ('PENDING', 'PROCESSING', 'RETRYING') AND vanished_at IS NULL"),
    )
    op.create_index(
        "ix_orchestration_instances_parent",
        "orchestration_instances",
        ["engine_id", "parent_external_id"],
        unique=False,
        sqlite_where=sa.text("parent_external_id IS NOT NULL"),
        postgresql_where=sa.text("parent_external_id IS NOT NULL"),
    )
    op.create_index("ix_orchestration_instances_status", "orchestration_instances", ["status", "id"], unique=False)
    op.create_index(
        "ix_orchestration_instances_workflow", "orchestration_instances", ["engine_id", "workflow", "id"], unique=False
    )
    op.create_table(
        "quarantine",
        sa.Column("engine_id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.String(length=32), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("feed", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=True),
        sa.Column("first_seen_at", UtcDateTime, nullable=False),
        sa.Column("last_seen_at", UtcDateTime, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["engine_id"], ["engines.id"], name=op.f("fk_quarantine_engine_id")),
        sa.PrimaryKeyConstraint("engine_id", "fingerprint", name=op.f("pk_quarantine")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("automation_id", sa.Uuid(), nullable=False),
        sa.Column("correlation_id", sa.Text(), nullable=True),
        sa.Column("cancellation_reason", sa.Text(), nullable=True),
        sa.Column("error_summary", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=True),
        sa.Column("finished_at", UtcDateTime, nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
        sa.Column("quiet_until", UtcDateTime, nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=True),
        sa.Column("updated_by", sa.String(length=200), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["automation_id"], ["automations.id"], name=op.f("fk_runs_automation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        _one_of_the_statuses("runs", "status"),
    )
    op.create_index("ix_runs_automation_id", "runs", ["automation_id"], unique=False)
    op.create_index("ix_runs_correlation_id", "runs", ["correlation_id"], unique=False)
    op.create_index(
        "ix_runs_quiet_until",
        "runs",
        ["quiet_until"],
        unique=False,
        sqlite_where=sa.text("quiet_until IS NOT NULL"),
        postgresql_where=sa.text("quiet_until IS NOT NULL"),
    )
    op.create_index("ix_runs_status", "runs", ["status", "id"], unique=False)
    op.create_table(
        "batch_executions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=True),
        sa.Column("finished_at", UtcDateTime, nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=True),
        sa.Column("updated_by", sa.String(length=200), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_batch_executions_batch_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_batch_executions_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch_executions")),
        sa.UniqueConstraint("run_id", "batch_id", name=op.f("uq_batch_executions_run_id_batch_id")),
        _one_of_the_statuses("batch_executions", "status"),
    )
    op.create_index("ix_batch_executions_batch_id", "batch_executions", ["batch_id"], unique=False)
    op.create_table(
        "instance_attempts",
        sa.Column("instance_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("native_status", sa.Text(), nullable=True),
        sa.Column("started_at", UtcDateTime, nullable=True),
        sa.Column("finished_at", UtcDateTime, nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["orchestration_instances.id"], name=op.f("fk_instance_attempts_instance_id")
        ),
        sa.PrimaryKeyConstraint("instance_id", "number", name=op.f("pk_instance_attempts")),
        _one_of_the_statuses("instance_attempts", "status"),
    )
    op.create_table(
        "instance_steps",
        sa.Column("instance_id", sa.Uuid(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("native_status", sa.Text(), nullable=True),
        sa.Column("final", sa.Boolean(), nullable=True),
        sa.Column("started_at", UtcDateTime, nullable=True),
        sa.Column("finished_at", UtcDateTime, nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("inputs", Json, nullable=True),
        sa.Column("outputs", Json, nullable=True),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["orchestration_instances.id"], name=op.f("fk_instance_steps_instance_id")
        ),
        sa.PrimaryKeyConstraint("instance_id", "external_id", "attempt", name=op.f("pk_instance_steps")),
        _one_of_the_statuses("instance_steps", "status"),
    )
    op.create_table(
        "items",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("sequence_number", sa.Integer(), nullable=False),
        sa.Column("payload", Json, nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=True),
        sa.Column("updated_by", sa.String(length=200), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_items_batch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_items")),
        sa.UniqueConstraint("batch_id", "sequence_number", name=op.f("uq_items_batch_id_sequence_number")),
        sa.CheckConstraint("sequence_number >= 0", name=op.f("ck_items_sequence")),
    )
    op.create_table(
        "observations",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("instance_id", sa.Uuid(), nullable=False),
        sa.Column("observed_at", UtcDateTime, nullable=False),
        sa.Column("recorded_at", UtcDateTime, nullable=False),
        sa.Column("feed", sa.String(length=20), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("native_status", sa.Text(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("changes", Json, nullable=True),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["orchestration_instances.id"], name=op.f("fk_observations_instance_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_observations")),
        _one_of_the_statuses("observations", "status"),
    )
    op.create_index("ix_observations_instance_id", "observations", ["instance_id", "id"], unique=False)
    op.create_index("ix_observations_recorded_at", "observations", ["recorded_at"], unique=False)
    op.create_table(
        "run_orchestrations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("orchestration_instance_id", sa.Uuid(), nullable=False),
        sa.Column("attached_at", UtcDateTime, nullable=False),
        sa.Column("rule", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=True),
        sa.Column("updated_by", sa.String(length=200), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["orchestration_instance_id"],
            ["orchestration_instances.id"],
            name=op.f("fk_run_orchestrations_orchestration_instance_id"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_orchestrations_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_orchestrations")),
        sa.UniqueConstraint(
            "run_id", "orchestration_instance_id", name=op.f("uq_run_orchestrations_run_id_orchestration_instance_id")
        ),
    )
    op.create_index(
        "ix_run_orchestrations_orchestration_instance_id",
        "run_orchestrations",
        ["orchestration_instance_id"],
        unique=False,
    )
    op.create_table(
        "waiting_keys",
        sa.Column("instance_id", sa.Uuid(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("automation_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["automation_id"], ["automations.id"], name=op.f("fk_waiting_keys_automation_id")),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["orchestration_instances.id"], name=op.f("fk_waiting_keys_instance_id")
        ),
        sa.PrimaryKeyConstraint("instance_id", "rule", name=op.f("pk_waiting_keys")),
    )
    op.create_index("ix_waiting_keys_automation_id_key", "waiting_keys", ["automation_id", "key"], unique=False)
    op.create_table(
        "item_executions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("batch_execution_id", sa.Uuid(), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("result_payload", Json, nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=True),
        sa.Column("finished_at", UtcDateTime, nullable=True),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=True),
        sa.Column("updated_by", sa.String(length=200), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_execution_id"], ["batch_executions.id"], name=op.f("fk_item_executions_batch_execution_id")
        ),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_item_executions_item_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_item_executions_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_item_executions")),
        _one_of_the_statuses("item_executions", "status"),
    )
    op.create_index("ix_item_executions_batch_execution_id", "item_executions", ["batch_execution_id"], unique=False)
    op.create_index("ix_item_executions_item_id", "item_executions", ["item_id"], unique=False)
    op.create_index("ix_item_executions_run_id", "item_executions", ["run_id"], unique=False)
    op.create_table(
        "item_state_history",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("item_execution_id", sa.Uuid(), nullable=False),
        sa.Column("previous_status", sa.String(length=10), nullable=True),
        sa.Column("new_status", sa.String(length=10), nullable=False),
        sa.Column("changed_at", UtcDateTime, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(
            ["item_execution_id"], ["item_executions.id"], name=op.f("fk_item_state_history_item_execution_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_item_state_history")),
        _one_of_the_statuses("item_state_history", "previous_status"),
        _one_of_the_statuses("item_state_history", "new_status"),
    )
    op.create_index(
        "ix_item_state_history_item_execution_id", "item_state_history", ["item_execution_id", "id"], unique=False
    )
    for statement in _APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)


_APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER item_state_history_no_{verb.lower()} BEFORE {verb} ON item_state_history "
        f"BEGIN SELECT RAISE(ABORT, 'item_state_history is append-only'); END"
        for verb in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        (
            "CREATE FUNCTION item_state_history_refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'item_state_history is append-only'; END $$"
        ),
        (
            "CREATE TRIGGER item_state_history_append_only BEFORE UPDATE OR DELETE ON item_state_history "
            "FOR EACH ROW EXECUTE FUNCTION item_state_history_refuse()"
        ),
        (
            "CREATE TRIGGER item_state_history_no_truncate BEFORE TRUNCATE ON item_state_history "
            "FOR EACH STATEMENT EXECUTE FUNCTION item_state_history_refuse()"
        ),
    ],
}
