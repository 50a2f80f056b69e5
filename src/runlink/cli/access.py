"""`runlink tokens` and `runlink audit`: who may use the server, and who changed what through it."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import typer

from runlink.cli import lookup, output, session
from runlink.cli.options import BeforeOption, LimitOption, OutputOption, span
from runlink.cli.output import Output

tokens = typer.Typer(help="Tokens: who may use the server.", no_args_is_help=True)
audit = typer.Typer(help="The audit: who changed what through the server.", no_args_is_help=True)


class Role(StrEnum):
    """What a token may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Scope(StrEnum):
    """What a token may do, one by one."""

    READ = "read"
    WRITE = "write"
    HOOKS = "hooks"
    ADMIN = "admin"


def register(main: typer.Typer) -> None:
    """Adds the commands of this module."""
    main.add_typer(tokens, name="tokens", rich_help_panel="Set up")
    main.add_typer(audit, name="audit", rich_help_panel="Look")


@tokens.command("create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is for: writes carry it as token:NAME.")],
    role: Annotated[
        Role | None, typer.Option("--role", case_sensitive=False, help="viewer reads, operator writes, too.")
    ] = None,
    scope: Annotated[
        list[Scope] | None, typer.Option("--scope", case_sensitive=False, help="Instead of a role; may be repeated.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="SPAN", help="After how long it opens nothing: 90d, 12h.")
    ] = None,
    form: OutputOption = Output.TABLE,
) -> None:
    """Make a token and print it. It is shown this once: runlink keeps only what recognises it."""
    from runlink.application.access import ROLES, create_token

    if (role is None) == (not scope):
        raise typer.BadParameter("give a role, or scopes: one of the two", param_hint="'--role' / '--scope'")
    scopes = ROLES[role.value] if role is not None else tuple(one.value for one in scope or ())
    now = session.now()
    expires_at = now + timedelta(seconds=span(expires)) if expires is not None else None
    with session.record(context) as runlink:
        token, text = session.write(
            runlink, lambda uow: create_token(uow, name, scopes, now=now, expires_at=expires_at)
        )
    if form is Output.JSON:
        output.write_json({"id": token.id, "name": token.name, "scopes": token.scopes, "token": text})
    else:
        typer.echo(text)
        output.say(f"token {token.name} ({', '.join(token.scopes)}) is shown this once; keep it where secrets are kept")


@tokens.command("list")
def list_tokens(
    context: typer.Context, before: BeforeOption = None, limit: LimitOption = 50, form: OutputOption = Output.TABLE
) -> None:
    """Tokens, newest first, revoked ones too; never the secret."""
    from runlink.application.access import role_of

    now = session.now()
    with session.record(context) as runlink, runlink.store.reading() as uow:
        found = uow.access.tokens(before=lookup.page_id(before), limit=limit)
    names = ("id", "name", "scopes", "created_at", "created_by", "expires_at", "revoked_at", "last_used_at")
    rows: list[dict[str, Any]] = [
        {
            **{name: getattr(token, name) for name in names},
            "role": role_of(token.scopes),
            "state": "revoked" if token.revoked_at else "valid" if token.is_valid(now) else "expired",
        }
        for token in found
    ]
    columns: dict[str, output.Cell] = {
        "id": "id",
        "name": "name",
        "state": "state",
        "scopes": "scopes",
        "created": "created_at",
        "by": "created_by",
        "expires": "expires_at",
        "last used": "last_used_at",
    }
    output.listing(rows, columns, form, empty="there is no token; `runlink tokens create` makes one")
    if form is Output.TABLE:
        output.more(rows, limit, "--before")


@tokens.command("revoke")
def revoke(context: typer.Context, name: Annotated[str, typer.Argument(help="The token's name.")]) -> None:
    """End a token, and every session that was opened with it, at once."""
    from runlink.application.access import revoke_token

    with session.record(context) as runlink:
        session.write(runlink, lambda uow: revoke_token(uow, name, now=session.now()))
    output.say(f"token {name} is revoked")


@audit.command("list")
def list_audit(
    context: typer.Context,
    actor: Annotated[str | None, typer.Option("--actor", help="Only what this actor did: token:NAME.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only this action: runs.create.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", metavar="ID", help="Only what was done to this.")] = None,
    before: BeforeOption = None,
    limit: LimitOption = 50,
    form: OutputOption = Output.TABLE,
) -> None:
    """Who changed what through the server, newest first."""
    with session.record(context) as runlink, runlink.store.reading() as uow:
        rows = uow.audit.list(
            actor=actor, action=action, subject_id=_subject(subject), before=lookup.page_id(before), limit=limit
        )
    columns: dict[str, output.Cell] = {
        "id": "id",
        "at": "at",
        "actor": "actor",
        "action": "action",
        "of": "subject_type",
        "subject": "subject_id",
        "from": "address",
        "details": "details",
    }
    output.listing(rows, columns, form, empty="nothing was changed through the server")
    if form is Output.TABLE:
        output.more(rows, limit, "--before")


def _subject(text: str | None) -> UUID | None:
    found = lookup.as_id(text)
    if text is not None and found is None:
        raise typer.BadParameter(f"{text!r} is no id", param_hint="'--subject'")
    return found
