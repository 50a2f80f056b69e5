"""The database's schema: brought up to date by Alembic, and checked against this program.

Alembic takes 11 MB of memory and a fifth of a second, so it is loaded where something is to be upgraded.
"""

from __future__ import annotations

import logging
from pathlib import Path

import sqlalchemy as sa

from runlink.store.errors import NoStore, SchemaMismatch

log = logging.getLogger(__name__)

MADE_BY = "`runlink serve`, or the first command that writes, makes it"
_MIGRATIONS = Path(__file__).parent / "migrations"


def revisions() -> list[str]:
    """All revisions this program knows, oldest first: the numbers that the files of migrations begin with."""
    return sorted(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def current(connection: sa.Connection) -> str | None:
    """The revision of a database; None for an empty one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return found


def check(engine: sa.Engine) -> None:
    """Raises SchemaMismatch for a database that is newer or older than this program, NoStore for an empty one. Writes
    nothing, locks nothing."""
    known = revisions()
    with engine.connect() as connection:
        found = _found(connection, known)
    if found is None:
        raise NoStore(f"the database is empty; {MADE_BY}")
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
        found, wanted = _found(connection, known), known[-1] if to == "head" else to
        if found == wanted:
            return
        if found is not None:
            log.warning(
                "the database is upgraded from schema %s to %s: with many rows this takes a while", found, wanted
            )
        _run_migrations(connection, to)
        if found is not None:
            log.info("the database is at schema %s", wanted)


def _run_migrations(connection: sa.Connection, to: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
