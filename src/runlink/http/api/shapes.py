"""The shapes most operations have: a listing, one thing, a change of one thing. The modules beside it come here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar
from uuid import UUID

from runlink.application.ports import Repository
from runlink.domain import DomainEntity
from runlink.http import cursors, schemas
from runlink.http.operations import Answer, Call, Operation, Parameter
from runlink.http.problems import Problem
from runlink.store import Row, SqlUnitOfWork

E = TypeVar("E", bound=DomainEntity)
Rows = Sequence[Mapping[str, Any]] | Sequence[Row]

ROOT: Final = "/api/v1"
ID = Parameter(name="id", where="path", schema=schemas.ID, description="Its id.", required=True)
LIMIT = Parameter(
    name="limit",
    where="query",
    schema={"type": "integer", "minimum": 1, "maximum": 500},
    description="At most so many.",
    default=50,
)
CURSOR = Parameter(name="cursor", where="query", schema=cursors.SCHEMA, description="`next_cursor` of the page before.")
VERSION = Parameter(
    name="If-Match",
    where="header",
    schema={"type": "string", "minLength": 1, "maxLength": 200},
    description="The ETag of what is to be changed: its version. Refused with 412 when it has another by now; * takes "
    "any.",
)
REQUIRED_VERSION = Parameter(
    name="If-Match", where="header", schema=VERSION.schema, description=VERSION.description, required=True
)


def filter_by(name: str, schema: Mapping[str, Any], description: str) -> Parameter:
    """A parameter of the query that narrows a listing."""
    return Parameter(name=name, where="query", schema=schema, description=description)


def _page(rows: Rows, limit: int, place: Callable[[Any], UUID | int]) -> Answer:
    """A page of `limit` rows, of which one more was asked for, to see whether there is a next."""
    shown = rows[:limit]
    following = cursors.cursor_of(place(shown[-1])) if len(rows) > limit else None
    return Answer(body={"items": shown, "next_cursor": following})


def paged(
    path: str,
    *,
    name: str,
    tag: str,
    summary: str,
    row: Mapping[str, Any],
    read: Callable[[SqlUnitOfWork, Call, int], Rows],
    place: Callable[[Any], UUID | int] = lambda row: row["id"],
    filters: Sequence[Parameter] = (),
    limit: Parameter = LIMIT,
    description: str = "",
    scope: str = "read",
    problems: Sequence[str] = (),
    glances: bool = False,
) -> Operation:
    """`GET` of a page.

    read    the rows behind `cursor`, at most so many: one more than the page has, to see whether there is a next
    place   where a row stands, for the cursor of the next page
    """

    def handler(uow: SqlUnitOfWork, call: Call) -> Answer:
        return _page(read(uow, call, call["limit"] + 1), call["limit"], place)

    return Operation(
        method="GET",
        path=ROOT + path,
        name=name,
        tag=tag,
        summary=summary,
        description=description,
        scope=scope,
        handler=handler,
        answer=schemas.listed(dict(row)),
        parameters=(*filters, CURSOR, limit),
        problems=problems,
        glances=glances,
    )


def listing(
    kind: str,
    path: str,
    *,
    tag: str,
    summary: str,
    row: Mapping[str, Any],
    filters: Sequence[Parameter] = (),
    name: str | None = None,
    shown: Callable[[SqlUnitOfWork, Call, Sequence[Row]], None] | None = None,
) -> Operation:
    """`GET` of a page of a kind of `store.listings`, newest first. `shown` may add to the rows, of a moment later."""
    ids = {p.name for p in filters if p.schema is schemas.ID}

    def read(uow: SqlUnitOfWork, call: Call, limit: int) -> Rows:
        wanted = {p.name: call.optional_id(p.name) if p.name in ids else call[p.name] for p in filters}
        rows = uow.listings.page(kind, wanted, before=cursors.id_at(call["cursor"]), limit=limit)
        if shown is not None:
            shown(uow, call, rows)
        return rows

    return paged(
        path, name=name or f"{kind}.list", tag=tag, summary=summary, row=row, filters=filters, read=read, glances=True
    )


def one(uow: SqlUnitOfWork, kind: str, entity_id: UUID) -> Row:
    """The row with this id. Raises Problem."""
    row = uow.listings.one(kind, entity_id)
    if row is None:
        raise Problem("not-found", f"there is no {kind.replace('_', ' ').removesuffix('s')} {entity_id}")
    return row


def detail(
    kind: str,
    path: str,
    *,
    tag: str,
    summary: str,
    row: Mapping[str, Any],
    shown: Callable[[SqlUnitOfWork, Call, Sequence[Row]], None] | None = None,
) -> Operation:
    """`GET` of one row, with its version as ETag."""

    def handler(uow: SqlUnitOfWork, call: Call) -> Answer:
        found = one(uow, kind, call.id())
        if shown is not None:
            shown(uow, call, [found])
        return Answer(body=found, version=found["version"])

    return Operation(
        method="GET",
        path=ROOT + path,
        name=f"{kind}.show",
        tag=tag,
        summary=summary,
        handler=handler,
        answer=row,
        parameters=(ID,),
        problems=("not-found",),
        versioned=True,
    )


def made(uow: SqlUnitOfWork, kind: str, path: str, entity_id: UUID) -> Answer:
    """The answer to a POST that made something."""
    return replace(there(uow, kind, path, entity_id), status=201, subject=(kind.removesuffix("s"), entity_id))


def there(uow: SqlUnitOfWork, kind: str, path: str, entity_id: UUID) -> Answer:
    """The answer to a POST of what was made before: nothing was changed."""
    row = one(uow, kind, entity_id)
    return Answer(body=row, version=row["version"], status=200, location=f"{ROOT}{path}/{entity_id}")


def changed(uow: SqlUnitOfWork, kind: str, entity_id: UUID, details: Mapping[str, Any] | None = None) -> Answer:
    """The answer to a change."""
    row = one(uow, kind, entity_id)
    return Answer(body=row, version=row["version"], subject=(kind.removesuffix("s"), entity_id), details=details)


def loaded(repository: Repository[E], kind: str, call: Call) -> E:
    """The entity that is to be changed, at the version that `If-Match` names. Raises Problem."""
    entity_id = call.id()
    entity = repository.get(entity_id)
    if entity is None or not entity.is_active:
        raise Problem("not-found", f"there is no {kind} {entity_id}")
    wanted = call["If-Match"]
    if wanted is not None and not {"*", f'"{entity.version}"'} & {tag.strip() for tag in wanted.split(",")}:
        what = f"not at {wanted}: get it again and decide anew"
        if '"' not in wanted:
            what = f"and If-Match: {wanted} is no ETag: give it in quotes, as it was answered"
        raise Problem(
            "stale-version", f"{kind} {entity_id} is at version {entity.version}, {what}", version=entity.version
        )
    return entity
