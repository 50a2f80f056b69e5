"""What made each link and whether a hand decided it; several keys of one rule; parents in other engines; Runs that have
gone silent; who caused each event; which step is which item."""

import sqlalchemy as sa
from alembic import op

from runlink.store.types import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("run_orchestrations", sa.Column("key", sa.Text(), nullable=True))
    op.add_column(
        "run_orchestrations", sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.text("false"))
    )
    # until now a link without a rule was made by hand, and only a hand took one off
    op.execute("UPDATE run_orchestrations SET pinned = true WHERE rule IS NULL OR NOT is_active")
    op.add_column("runs", sa.Column("silent_since", UtcDateTime, nullable=True))
    op.add_column("outbox", sa.Column("actor", sa.String(length=200), nullable=True))
    # of one rule an instance may wait for several keys; what waits is found again by `runlink relink`, and carried over
    op.rename_table("waiting_keys", "waiting_keys_before")
    op.drop_index("ix_waiting_keys_automation_id_key", "waiting_keys_before")
    if op.get_bind().dialect.name == "postgresql":  # names of constraints are the schema's there
        op.execute("ALTER TABLE waiting_keys_before RENAME CONSTRAINT pk_waiting_keys TO pk_waiting_keys_before")
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
        sa.PrimaryKeyConstraint("instance_id", "rule", "automation_id", "key", name=op.f("pk_waiting_keys")),
    )
    columns = "instance_id, rule, automation_id, key"
    op.execute(f"INSERT INTO waiting_keys ({columns}) SELECT {columns} FROM waiting_keys_before")  # noqa: S608
    op.drop_table("waiting_keys_before")
    op.create_index("ix_waiting_keys_automation_id_key", "waiting_keys", ["automation_id", "key"], unique=False)
    op.create_table(
        "correlations",
        sa.Column("topic", sa.String(length=32), nullable=False),
        sa.Column("side", sa.String(length=6), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["orchestration_instances.id"], name=op.f("fk_correlations_instance_id")
        ),
        sa.PrimaryKeyConstraint("topic", "side", "value", "instance_id", name=op.f("pk_correlations")),
    )
    op.create_index("ix_correlations_instance_id", "correlations", ["instance_id"], unique=False)
    op.add_column("batch_executions", sa.Column("attempt", sa.Integer(), nullable=False, server_default="1"))
    op.create_table(
        "item_keys",
        sa.Column("batch_id", sa.Uuid(), sa.ForeignKey("batches.id"), primary_key=True),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("item_id", sa.Uuid(), sa.ForeignKey("items.id"), nullable=False),
    )
    op.create_index("ix_item_keys_item_id", "item_keys", ["item_id"], unique=False)
    op.create_table(
        "item_steps",
        sa.Column("instance_id", sa.Uuid(), sa.ForeignKey("orchestration_instances.id"), primary_key=True),
        sa.Column("external_id", sa.Text(), primary_key=True),
        sa.Column("run_id", sa.Uuid(), sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Uuid(), sa.ForeignKey("items.id"), nullable=True),
        sa.Column("max_attempts", sa.Integer(), nullable=True),
        sa.Column("differs", sa.Text(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
    )
    op.create_index("ix_item_steps_item_id", "item_steps", ["item_id", "run_id"], unique=False)
    op.create_table(
        "item_fits",
        sa.Column("engine_id", sa.Uuid(), sa.ForeignKey("engines.id"), primary_key=True),
        sa.Column("workflow", sa.Text(), primary_key=True),
        sa.Column("rule", sa.Text(), primary_key=True),
        sa.Column("instance_id", sa.Uuid(), sa.ForeignKey("orchestration_instances.id"), nullable=False),
        sa.Column("begun_at", UtcDateTime, nullable=False),
        sa.Column("seen_at", UtcDateTime, nullable=False),
        sa.Column("drifted_since", UtcDateTime, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("counted", sa.Integer(), nullable=False),
        sa.Column("unfit", sa.Integer(), nullable=False),
        sa.Column("differing", sa.Integer(), nullable=False),
    )
