"""When a feed's last error was: the error stays to be seen after the feed is well again."""

import sqlalchemy as sa
from alembic import op

from runlink.store.types import UtcDateTime

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("feeds", sa.Column("last_error_at", UtcDateTime, nullable=True))
