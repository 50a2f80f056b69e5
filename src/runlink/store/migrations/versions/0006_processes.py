"""A feed's row says which process its adapter runs in, where that is one of its own."""

import sqlalchemy as sa
from alembic import op

from runlink.store.types import UtcDateTime

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("feeds", sa.Column("pid", sa.Integer(), nullable=True))
    op.add_column("feeds", sa.Column("process_started_at", UtcDateTime(), nullable=True))
    op.add_column("feeds", sa.Column("restarts", sa.Integer(), nullable=False, server_default="0"))
