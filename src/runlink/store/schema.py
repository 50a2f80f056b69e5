"""The database's schema: brought up to date by Alembic, and checked against this program."""

from __future__ import annotations

import functools
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from runlink.store.errors import SchemaMismatch

_MIGRATIONS = Path(__file__).parent / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


@functools.cache
def revisions() -> tuple[str, ...]:
    """All revisions this program knows, oldest first."""
    newest_first = [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]
    return tuple(reversed(newest_first))


def current(connection: sa.Connection) -> str | None:
    """The revision of a database; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(engine: sa.Engine, *, migrate: bool = True, to: str = "head") -> None:
    """Upgrades the database in one transaction; of several processes that start together, one does it.

    Raises SchemaMismatch for a database that is newer than this program, or older when `migrate` is False.
    """
    known = revisions()
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7261702, 1)")
        found = current(connection)
        if found is not None and found not in known:
            raise SchemaMismatch(
                f"the database is at schema {found}, which this runlink does not know: it was upgraded by a newer one; "
                "install that or a later version"
            )
        if found == (known[-1] if to == "head" else to):
            return
        if not migrate:
            raise SchemaMismatch(
                f"the database is at schema {found}, this runlink needs {known[-1]}; run `runlink db upgrade`"
            )
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, to)
