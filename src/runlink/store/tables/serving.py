"""Who may use the server, and who changed what through it."""

from __future__ import annotations

import sqlalchemy as sa

from runlink.store.tables.columns import metadata, partial_index, ref
from runlink.store.types import Json, UtcDateTime

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
partial_index("ix_tokens_name_valid", tokens.c.revoked_at.is_(None), tokens.c.name, unique=True)

sessions = sa.Table(  # of browsers that logged in with a token
    "sessions",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    ref("token_id", "tokens"),
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
