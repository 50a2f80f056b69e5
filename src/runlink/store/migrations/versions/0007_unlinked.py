"""What counts for nothing is kept in lists of its own, so that the inbox costs what it shows; Runs are found by when
they were made, and what subscriptions were told by when that was."""

# ruff: noqa: S608 - what is put into the statements are names of tables and columns, all from here

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_LISTS = (
    ("runs", "unlinked_runs", "run_id", "run_id"),
    ("orchestration_instances", "unlinked_instances", "instance_id", "orchestration_instance_id"),
)  # table, its list, the key there, and in a link
_LINKS = "run_orchestrations"


def upgrade() -> None:
    op.create_index("ix_runs_created_at", "runs", ["created_at", "id"])
    was_sent = sa.text("sent_at IS NOT NULL")
    op.create_index(
        "ix_subscription_events_sent",
        "subscription_events",
        ["sent_at"],
        sqlite_where=was_sent,
        postgresql_where=was_sent,
    )
    for table, list_, key, link_key in _LISTS:
        op.create_table(
            list_, sa.Column(key, sa.Uuid(), nullable=False), sa.PrimaryKeyConstraint(key, name=f"pk_{list_}")
        )
        op.execute(
            f"INSERT INTO {list_} ({key}) SELECT id FROM {table} WHERE id NOT IN "
            f"(SELECT {link_key} FROM {_LINKS} WHERE is_active) ORDER BY id"
        )
        on_sqlite = op.get_bind().dialect.name == "sqlite"
        for statement in (_on_sqlite if on_sqlite else _on_postgresql)(table, list_, key, link_key):
            op.execute(statement)


def _on_sqlite(table: str, list_: str, key: str, link_key: str) -> list[str]:
    leaves = f"DELETE FROM {list_} WHERE {key} = new.{link_key}"
    joins = (
        f"INSERT OR IGNORE INTO {list_} ({key}) SELECT old.{link_key} WHERE NOT EXISTS "
        f"(SELECT 1 FROM {_LINKS} WHERE {link_key} = old.{link_key} AND is_active)"
    )
    moved = f"new.{link_key} <> old.{link_key}"
    return [
        f"CREATE TRIGGER {list_}_added AFTER INSERT ON {table} BEGIN INSERT INTO {list_} ({key}) VALUES (new.id); END",
        f"CREATE TRIGGER {list_}_linked AFTER INSERT ON {_LINKS} WHEN new.is_active BEGIN {leaves}; END",
        (
            f"CREATE TRIGGER {list_}_relinked AFTER UPDATE OF is_active, {link_key} ON {_LINKS} "
            f"WHEN new.is_active AND (NOT old.is_active OR {moved}) BEGIN {leaves}; END"
        ),
        (
            f"CREATE TRIGGER {list_}_unlinked AFTER UPDATE OF is_active, {link_key} ON {_LINKS} "
            f"WHEN old.is_active AND (NOT new.is_active OR {moved}) BEGIN {joins}; END"
        ),
        f"CREATE TRIGGER {list_}_removed AFTER DELETE ON {_LINKS} WHEN old.is_active BEGIN {joins}; END",
    ]


def _on_postgresql(table: str, list_: str, key: str, link_key: str) -> list[str]:
    # whoever takes two links of one row apart at once waits for the other, so that the second sees that it is the last
    joins = (
        f"PERFORM 1 FROM {table} WHERE id = old.{link_key} FOR NO KEY UPDATE; "
        f"INSERT INTO {list_} ({key}) SELECT old.{link_key} WHERE NOT EXISTS "
        f"(SELECT 1 FROM {_LINKS} WHERE {link_key} = old.{link_key} AND is_active) ON CONFLICT DO NOTHING;"
    )
    function = "CREATE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NULL; END $$"
    by_row = f"ON {_LINKS} FOR EACH ROW"
    update, moved = f"AFTER UPDATE OF is_active, {link_key}", f"new.{link_key} <> old.{link_key}"
    return [
        function.format(f"{list_}_add", f"INSERT INTO {list_} ({key}) SELECT id FROM added;"),
        (
            f"CREATE TRIGGER {list_}_added AFTER INSERT ON {table} REFERENCING NEW TABLE AS added "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {list_}_add()"
        ),
        function.format(
            f"{list_}_link",
            f"DELETE FROM {list_} USING added WHERE {list_}.{key} = added.{link_key} AND added.is_active;",
        ),
        (
            f"CREATE TRIGGER {list_}_linked AFTER INSERT ON {_LINKS} REFERENCING NEW TABLE AS added "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {list_}_link()"
        ),
        function.format(f"{list_}_relink", f"DELETE FROM {list_} WHERE {list_}.{key} = new.{link_key};"),
        (
            f"CREATE TRIGGER {list_}_relinked {update} {by_row} "
            f"WHEN (new.is_active AND (NOT old.is_active OR {moved})) EXECUTE FUNCTION {list_}_relink()"
        ),
        function.format(f"{list_}_unlink", joins),
        (
            f"CREATE TRIGGER {list_}_unlinked {update} {by_row} "
            f"WHEN (old.is_active AND (NOT new.is_active OR {moved})) EXECUTE FUNCTION {list_}_unlink()"
        ),
        f"CREATE TRIGGER {list_}_removed AFTER DELETE {by_row} WHEN (old.is_active) EXECUTE FUNCTION {list_}_unlink()",
    ]
