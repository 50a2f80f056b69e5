"""The tables. Whoever needs a column's meaning or an index comes here; migrations are made from this.

The first ten tables are the ten entities (docs/reference/domain-entities.md); a comment marks the columns that belong
to the host's bookkeeping and not to the entity. The rest is what the one write path needs.
"""

from __future__ import annotations

import sqlalchemy as sa

from runlink.store.types import BigId, Json, UtcDateTime

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

STATUSES = ("PENDING", "PROCESSING", "COMPLETED", "FAILED", "RETRYING", "CANCELLED")
OPEN_STATUSES = ("PENDING", "PROCESSING", "RETRYING")


def _entity(name: str, *columns: sa.schema.SchemaItem) -> sa.Table:
    """A table of a DomainEntity: its own columns, then the inherited ones."""
    return sa.Table(
        name,
        metadata,
        sa.Column("id", sa.Uuid, primary_key=True),
        *columns,
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(200)),
        sa.Column("updated_by", sa.String(200)),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
    )


def _ref(name: str, target: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Uuid, sa.ForeignKey(f"{target}.id"), nullable=nullable)


def _status(name: str = "status", *, nullable: bool = False) -> sa.Column[object]:
    allowed = ", ".join(f"'{status}'" for status in STATUSES)
    return sa.Column(name, sa.String(10), sa.CheckConstraint(f"{name} IN ({allowed})", name=name), nullable=nullable)


def _times() -> list[sa.Column[object]]:
    return [sa.Column("started_at", UtcDateTime), sa.Column("finished_at", UtcDateTime)]


automations = _entity(
    "automations",
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("batch_schema", Json),
    sa.Column("item_schema", Json),
)
sa.Index(
    "ix_automation_name_active",
    automations.c.name,
    unique=True,
    sqlite_where=sa.text("is_active"),
    postgresql_where=sa.text("is_active"),
)

batches = _entity(
    "batches",
    _ref("automation_id", "automations"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("payload", Json),
    sa.UniqueConstraint("automation_id", "name"),
)

items = _entity(
    "items",
    _ref("batch_id", "batches"),
    sa.Column(
        "sequence_number", sa.Integer, sa.CheckConstraint("sequence_number >= 0", name="sequence"), nullable=False
    ),
    sa.Column("payload", Json),
    sa.UniqueConstraint("batch_id", "sequence_number"),
)

runs = _entity(
    "runs",
    _ref("automation_id", "automations"),
    sa.Column("correlation_id", sa.Text),
    sa.Column("cancellation_reason", sa.Text),
    sa.Column("error_summary", sa.Text),
    _status(),
    *_times(),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
    sa.Column("silent_since", UtcDateTime),
    # bookkeeping: when a Run whose instances have all ended may complete
    sa.Column("quiet_until", UtcDateTime),
    sa.Index("ix_runs_correlation_id", "correlation_id"),
    sa.Index("ix_runs_automation_id", "automation_id", "id"),
    sa.Index("ix_runs_status", "status", "id"),
)
sa.Index(
    "ix_runs_quiet_until",
    runs.c.quiet_until,
    sqlite_where=runs.c.quiet_until.is_not(None),
    postgresql_where=runs.c.quiet_until.is_not(None),
)
sa.Index("ix_runs_created_at", runs.c.created_at, runs.c.id)

batch_executions = _entity(
    "batch_executions",
    _ref("run_id", "runs"),
    _ref("batch_id", "batches"),
    _status(),
    *_times(),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
    sa.UniqueConstraint("run_id", "batch_id"),
    sa.Index("ix_batch_executions_batch_id", "batch_id"),
)

item_executions = _entity(
    "item_executions",
    _ref("run_id", "runs"),
    _ref("batch_execution_id", "batch_executions"),
    _ref("item_id", "items"),
    sa.Column("result_payload", Json),
    sa.Column("error_message", sa.Text),
    _status(),
    *_times(),
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
    _ref("item_execution_id", "item_executions"),
    _status("previous_status", nullable=True),
    _status("new_status"),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(200)),
    sa.Index("ix_item_state_history_item_execution_id", "item_execution_id", "id"),
)

engines = _entity(
    "engines",
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("url", sa.Text),
    sa.Column("product", sa.Text),
    sa.Column("product_version", sa.Text),
    sa.UniqueConstraint("name"),
)

orchestration_instances = _entity(
    "orchestration_instances",
    _ref("engine_id", "engines"),
    sa.Column("external_id", sa.Text, nullable=False),
    sa.Column("duration_seconds", sa.Float),
    sa.Column("instance_metadata", Json),
    _status(),
    *_times(),
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
sa.Index(
    "ix_orchestration_instances_parent",
    orchestration_instances.c.engine_id,
    orchestration_instances.c.parent_external_id,
    sqlite_where=orchestration_instances.c.parent_external_id.is_not(None),
    postgresql_where=orchestration_instances.c.parent_external_id.is_not(None),
)
IS_OPEN = sa.text("status IN ('PENDING', 'PROCESSING', 'RETRYING') AND vanished_at IS NULL")
sa.Index(
    "ix_orchestration_instances_open",
    orchestration_instances.c.engine_id,
    orchestration_instances.c.id,
    sqlite_where=IS_OPEN,
    postgresql_where=IS_OPEN,
)

run_orchestrations = _entity(
    "run_orchestrations",
    _ref("run_id", "runs"),
    _ref("orchestration_instance_id", "orchestration_instances"),
    sa.Column("attached_at", UtcDateTime, nullable=False),
    sa.Column("rule", sa.Text),
    sa.Column("key", sa.Text),  # what the rule found in the instance
    sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("run_id", "orchestration_instance_id"),
    sa.Index("ix_run_orchestrations_orchestration_instance_id", "orchestration_instance_id"),
)

# --- what is searched for (store.search): kept by triggers, numbered as it came ------------------------------------

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

# --- what counts for nothing (the inbox): kept by triggers; what stands there may have got a link just now ---------

unlinked_runs = sa.Table("unlinked_runs", metadata, sa.Column("run_id", sa.Uuid, primary_key=True))
unlinked_instances = sa.Table("unlinked_instances", metadata, sa.Column("instance_id", sa.Uuid, primary_key=True))

# --- what is known of an instance beside its present state -------------------------------------------------------

instance_attempts = sa.Table(
    "instance_attempts",
    metadata,
    sa.Column("instance_id", sa.Uuid, sa.ForeignKey("orchestration_instances.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    _status(),
    sa.Column("native_status", sa.Text),
    *_times(),
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
    _status(),
    sa.Column("native_status", sa.Text),
    sa.Column("final", sa.Boolean),
    *_times(),
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
    _status(),
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

# --- steps as items (docs/reference/items.md) ------------------------------------------------------------------------

item_keys = sa.Table(  # by what an item is known to a rule that gives it no number
    "item_keys",
    metadata,
    sa.Column("batch_id", sa.Uuid, sa.ForeignKey("batches.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    _ref("item_id", "items"),
    sa.Index("ix_item_keys_item_id", "item_id"),
)

item_steps = sa.Table(  # which step of an instance is which item for a Run; of one that does not fit, why
    "item_steps",
    metadata,
    sa.Column("instance_id", sa.Uuid, sa.ForeignKey("orchestration_instances.id"), primary_key=True),
    sa.Column("external_id", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Uuid, sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("rule", sa.Text, nullable=False),
    _ref("item_id", "items", nullable=True),
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
    _ref("instance_id", "orchestration_instances"),
    sa.Column("begun_at", UtcDateTime, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
    sa.Column("drifted_since", UtcDateTime),  # NULL while it fits
    sa.Column("reason", sa.Text),
    sa.Column("counted", sa.Integer, nullable=False),
    sa.Column("unfit", sa.Integer, nullable=False),
    sa.Column("differing", sa.Integer, nullable=False),
)

# --- feeds ---------------------------------------------------------------------------------------------------------

feeds = sa.Table(
    "feeds",
    metadata,
    sa.Column("engine_id", sa.Uuid, sa.ForeignKey("engines.id"), primary_key=True),
    sa.Column("feed", sa.String(20), primary_key=True),
    sa.Column("baseline_at", UtcDateTime),  # when the first whole sync was done
    sa.Column("state", sa.String(20), nullable=False, server_default="new"),
    sa.Column("since", UtcDateTime),  # of the present state
    sa.Column("last_success_at", UtcDateTime),
    sa.Column("last_news_at", UtcDateTime),  # the last page that told of an instance
    sa.Column("relists", sa.Integer, nullable=False, server_default="0"),  # of a watch: places that had expired
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("last_error", sa.Text),
    sa.Column("last_duration_s", sa.Float),
    sa.Column("requests", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("skew_s", sa.Float),
    # of what moved at an engine that pushes: how much deliveries told, and how much a poll had to find
    sa.Column("told", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("missed", sa.BigInteger, nullable=False, server_default="0"),
)

feed_cursors = sa.Table(
    "feed_cursors",
    metadata,
    sa.Column("engine_id", sa.Uuid, sa.ForeignKey("engines.id"), primary_key=True),
    sa.Column("feed", sa.String(20), primary_key=True),
    sa.Column("partition", sa.Text, primary_key=True),
    sa.Column("cursor", sa.Text, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("engine_id", sa.Uuid, sa.ForeignKey("engines.id"), primary_key=True),
    sa.Column("fingerprint", sa.String(32), primary_key=True),
    sa.Column("external_id", sa.Text),
    sa.Column("feed", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("raw", sa.Text),
    sa.Column("first_seen_at", UtcDateTime, nullable=False),
    sa.Column("last_seen_at", UtcDateTime, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
)

deliveries = sa.Table(  # what engines pushed, as it came: stored before it is answered, processed afterwards
    "deliveries",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    _ref("engine_id", "engines"),
    sa.Column("delivery_id", sa.Text),  # what the sender calls it; NULL where it does not say
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("headers", Json, nullable=False),  # [[name, value], …] without secrets
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("signed", sa.Boolean, nullable=False),  # whether the scheme covers the body
    sa.Column("state", sa.String(10), nullable=False),  # waiting, done, dead
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("due_at", UtcDateTime),  # of a waiting one: not before
    sa.Column("processed_at", UtcDateTime),
    sa.Column("reason", sa.Text),  # why the last attempt failed
    sa.UniqueConstraint("engine_id", "delivery_id"),
)
IS_WAITING = sa.text("state = 'waiting'")
IS_DEAD = sa.text("state = 'dead'")
WAS_PROCESSED = sa.text("processed_at IS NOT NULL")
sa.Index(
    "ix_deliveries_waiting",
    deliveries.c.engine_id,
    deliveries.c.due_at,
    sqlite_where=IS_WAITING,
    postgresql_where=IS_WAITING,
)
sa.Index(
    "ix_deliveries_dead",
    deliveries.c.engine_id,
    deliveries.c.id,
    sqlite_where=IS_DEAD,
    postgresql_where=IS_DEAD,
)
sa.Index(
    "ix_deliveries_processed",
    deliveries.c.processed_at,
    sqlite_where=WAS_PROCESSED,
    postgresql_where=WAS_PROCESSED,
)

leases = sa.Table(  # the fencing token of whoever runs the feeds, checked in each ingest transaction
    "leases",
    metadata,
    sa.Column("name", sa.String(50), primary_key=True),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("taken_at", UtcDateTime, nullable=False),
)

# --- events --------------------------------------------------------------------------------------------------------

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("sequence", BigId, sa.Identity(), primary_key=True),
    sa.Column("position", sa.BigInteger),  # in commit order, without gaps
    sa.Column("type", sa.String(50), nullable=False),
    sa.Column("run_id", sa.Uuid),
    sa.Column("occurred_at", UtcDateTime, nullable=False),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("data", Json, nullable=False),
    sa.Column("actor", sa.String(200)),  # who wrote what the event tells of
    sa.UniqueConstraint("position"),
    sa.Index("ix_outbox_run_id", "run_id", "sequence"),
)

retention_marks = sa.Table(  # up to where the rows of a table were looked at: what is left of those is kept
    "retention_marks",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
)

subscribers = sa.Table(
    "subscribers",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("retry_at", UtcDateTime),
    sa.Column("last_error", sa.Text),
)

subscription_events = sa.Table(  # what each subscription is to be told, copied from the outbox
    "subscription_events",
    metadata,
    sa.Column("subscription", sa.String(200), primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("type", sa.String(50), nullable=False),
    sa.Column("run_id", sa.Uuid),
    sa.Column("occurred_at", UtcDateTime, nullable=False),
    sa.Column("data", Json, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),  # waiting, sent, dead
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("due_at", UtcDateTime),  # of a waiting one: not before
    sa.Column("sent_at", UtcDateTime),
    sa.Column("reason", sa.Text),  # why the last attempt failed
    sa.Index("ix_subscription_events_state", "state", "subscription", "position"),
)
sa.Index(
    "ix_subscription_events_waiting",
    subscription_events.c.subscription,
    subscription_events.c.run_id,
    subscription_events.c.position,
    sqlite_where=IS_WAITING,
    postgresql_where=IS_WAITING,
)
WAS_SENT = sa.text("sent_at IS NOT NULL")
sa.Index(
    "ix_subscription_events_sent",
    subscription_events.c.sent_at,
    sqlite_where=WAS_SENT,
    postgresql_where=WAS_SENT,
)

# --- the server ----------------------------------------------------------------------------------------------------

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("scopes", Json, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),  # of the token, which is kept nowhere
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("expires_at", UtcDateTime),
    sa.Column("revoked_at", UtcDateTime),
    sa.Column("last_used_at", UtcDateTime),  # to the quarter of an hour
    sa.UniqueConstraint("digest"),
)
sa.Index(
    "ix_tokens_name_valid",
    tokens.c.name,
    unique=True,
    sqlite_where=tokens.c.revoked_at.is_(None),
    postgresql_where=tokens.c.revoked_at.is_(None),
)

sessions = sa.Table(  # of browsers that logged in with a token
    "sessions",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    _ref("token_id", "tokens"),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Index("ix_sessions_expires_at", "expires_at"),
)

idempotency_keys = sa.Table(  # what a repeated request made the first time
    "idempotency_keys",
    metadata,
    sa.Column("actor", sa.String(200), primary_key=True),
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Column("digest", sa.LargeBinary, nullable=False),  # of the request: the same key with another is refused
    sa.Column("entity_id", sa.Uuid, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index("ix_idempotency_keys_created_at", "created_at"),
)

audit = sa.Table(  # who changed what through the server or the tokens' command
    "audit",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("action", sa.String(50), nullable=False),
    sa.Column("subject_type", sa.String(50), nullable=False),
    sa.Column("subject_id", sa.Uuid),
    sa.Column("address", sa.String(50)),
    sa.Column("details", Json),
    sa.Index("ix_audit_at", "at"),
    sa.Index("ix_audit_subject_id", "subject_id", "id"),
)
