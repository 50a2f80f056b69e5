"""The database's schema: brought up to date by Alembic, and checked against this program."""

from __future__ import annotations

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


def revisions() -> list[str]:
    """All revisions this program knows, oldest first."""
    return [script.revision for script in reversed(list(ScriptDirectory.from_config(_config()).walk_revisions()))]


def current(connection: sa.Connection) -> str | None:
    """The revision of a database; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def check(engine: sa.Engine) -> None:
    """Raises SchemaMismatch for a database that is newer or older than this program. Writes nothing, locks nothing."""
    known = revisions()
    with engine.connect() as connection:
        found = _found(connection, known)
    if found != known[-1]:
        raise SchemaMismatch(
            f"the database is at schema {found}, this runlink needs {known[-1]}; run `runlink db upgrade`"
        )


def _found(connection: sa.Connection, known: list[str]) -> str | None:
    found = current(connection)
    if found is not None and found not in known:
        raise SchemaMismatch(
            f"the database is at schema {found}, which this runlink does not know: it was upgraded by a newer one; "
            "install that or a later version"
        )
    return found


def upgrade(engine: sa.Engine, *, to: str = "head") -> None:
    """Upgrades the database in one transaction; of several processes that start together, one does it.

    Raises SchemaMismatch for a database that is newer than this program.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7261702, 1)")
        known = revisions()
        if _found(connection, known) == (known[-1] if to == "head" else to):
            return
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, to)
