"""What made each link and whether a hand decided it; Runs that have gone silent; who caused each event."""

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
