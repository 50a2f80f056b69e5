"""Events have their position from the transaction that tells of them; texts are found by what they hold; what retention
keeps is not looked at again."""

# ruff: noqa: S608 - what is put into the statements are names of tables and columns, all from here

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

# of each text so much is searched: what an engine says of a failure may be long
_MAX_CHARS = 1000
_TEXTS = (
    ("runs", "run_texts", "run_id", ("correlation_id", "error_summary", "cancellation_reason")),
    ("orchestration_instances", "instance_texts", "instance_id", ("workflow", "external_id", "message")),
)


def upgrade() -> None:
    _place_waiting_events()
    op.create_table(
        "retention_marks",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_retention_marks"),
    )
    op.drop_index("ix_observations_recorded_at", "observations")
    op.drop_index("ix_outbox_recorded_at", "outbox")
    for table, texts, key, columns in _TEXTS:
        op.create_table(
            texts,
            sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), nullable=False),
            sa.Column(key, sa.Uuid(), nullable=False),
            sa.Column("text", sa.Text(), nullable=False),
            sa.PrimaryKeyConstraint("number", name=f"pk_{texts}"),
            sa.UniqueConstraint(key, name=f"uq_{texts}_{key}"),
        )
        op.execute(f"INSERT INTO {texts} ({key}, text) SELECT id, {_text(columns)} FROM {table} ORDER BY id")
        if op.get_bind().dialect.name == "sqlite":
            _index_on_sqlite(table, texts, key, columns)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_TRIGRAMS)
        for names in _TEXTS:
            _index_on_postgresql(*names)


def _place_waiting_events() -> None:
    """Nobody places them any more."""
    outbox = sa.table("outbox", sa.column("sequence"), sa.column("position"))
    connection = op.get_bind()
    last = connection.execute(sa.select(sa.func.coalesce(sa.func.max(outbox.c.position), 0))).scalar_one()
    waiting = connection.execute(
        sa.select(outbox.c.sequence).where(outbox.c.position.is_(None)).order_by(outbox.c.sequence)
    ).scalars()
    rows = [{"waiting": sequence, "place": last + place} for place, sequence in enumerate(waiting, start=1)]
    if rows:
        connection.execute(
            sa.update(outbox)
            .where(outbox.c.sequence == sa.bindparam("waiting"))
            .values(position=sa.bindparam("place")),
            rows,
        )
    op.drop_index("ix_outbox_unplaced", "outbox")


def _text(columns: tuple[str, ...], row: str = "") -> str:
    """A line for each column; none for a workflow whose name is a part of the id, as it is with many engines."""
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    place, newline = ("instr", "char(10)") if on_sqlite else ("strpos", "chr(10)")
    lines = {name: f"coalesce(substr({row}{name}, 1, {_MAX_CHARS}), '')" for name in columns}
    if "workflow" in lines:
        is_part = f"{place}({lines['external_id']}, {lines['workflow']}) > 0"
        lines["workflow"] = f"CASE WHEN {is_part} THEN '' ELSE {lines['workflow']} END"
    return f" || {newline} || ".join(lines.values())


def _index_on_sqlite(table: str, texts: str, key: str, columns: tuple[str, ...]) -> None:
    index = f"{texts}_index"
    op.execute(
        f"CREATE VIRTUAL TABLE {index} USING fts5(text, content='{texts}', content_rowid='number', "
        "tokenize='trigram', detail='none', columnsize=0)"
    )
    op.execute(f"INSERT INTO {index} ({index}) VALUES ('rebuild')")
    op.execute(
        f"CREATE TRIGGER {texts}_added AFTER INSERT ON {table} BEGIN "
        f"INSERT INTO {texts} ({key}, text) VALUES (new.id, {_text(columns, 'new.')}); "
        f"INSERT INTO {index} (rowid, text) VALUES (last_insert_rowid(), {_text(columns, 'new.')}); END"
    )
    differs = " OR ".join(f"new.{name} IS NOT old.{name}" for name in columns)
    mine = f"FROM {texts} WHERE {key} = new.id"
    op.execute(
        f"CREATE TRIGGER {texts}_changed AFTER UPDATE OF {', '.join(columns)} ON {table} WHEN {differs} BEGIN "
        f"INSERT INTO {index} ({index}, rowid, text) SELECT 'delete', number, text {mine}; "
        f"UPDATE {texts} SET text = {_text(columns, 'new.')} WHERE {key} = new.id; "
        f"INSERT INTO {index} (rowid, text) SELECT number, text {mine}; END"
    )


_TRIGRAMS = """
CREATE FUNCTION runlink_trigrams(asked text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT AS $$
DECLARE
    folded text := lower(asked);
    grams text[] := '{}';
BEGIN
    FOR place IN 1 .. length(folded) - 2 LOOP
        grams := grams || substr(folded, place, 3);
    END LOOP;
    RETURN grams;
END $$
"""


def _index_on_postgresql(table: str, texts: str, key: str, columns: tuple[str, ...]) -> None:
    op.execute(
        f"CREATE INDEX ix_{texts}_trigrams ON {texts} USING gin (runlink_trigrams(text)) "
        "WITH (gin_pending_list_limit = 512)"  # kB: what waits to be sorted in is passed over by each search
    )
    op.execute(
        f"CREATE FUNCTION {texts}_add() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"INSERT INTO {texts} ({key}, text) SELECT id, {_text(columns)} FROM added ORDER BY id; RETURN NULL; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {texts}_added AFTER INSERT ON {table} REFERENCING NEW TABLE AS added "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {texts}_add()"
    )
    op.execute(
        f"CREATE FUNCTION {texts}_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"UPDATE {texts} SET text = {_text(columns, 'new.')} WHERE {key} = new.id; RETURN NULL; END $$"
    )
    differs = " OR ".join(f"new.{name} IS DISTINCT FROM old.{name}" for name in columns)
    op.execute(
        f"CREATE TRIGGER {texts}_changed AFTER UPDATE OF {', '.join(columns)} ON {table} "
        f"FOR EACH ROW WHEN ({differs}) EXECUTE FUNCTION {texts}_change()"
    )
