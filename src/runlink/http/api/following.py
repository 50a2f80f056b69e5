"""What is followed: engines with the health of their feeds, instances, and links to Runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from runlink.application import runs
from runlink.http import schemas
from runlink.http.api.shapes import ID, ROOT, VERSION, detail, filter_by, listing, loaded, made, one, there
from runlink.http.operations import Answer, Call, Operation, Parameter
from runlink.store import Row, SqlUnitOfWork

_TAG = "following"
_FEED = tuple(schemas.FEED["properties"])


def _add_feeds(uow: SqlUnitOfWork, call: Call, rows: Sequence[Row]) -> None:
    """How the feeds are doing: as this process knows it now, else as it was written down last."""
    present = {(row.engine_id, row.feed): row._asdict() for row in call.service.feeds()}
    stored = uow.feed_health.list()
    counts = uow.reports.open_counts([row["id"] for row in rows])
    budgets = call.service.budgets()
    for row in rows:
        feeds = {one["feed"]: one for one in stored if one["engine"] == row["name"] and one["feed"]}
        for (engine_id, feed), now in present.items():
            if engine_id == row["id"]:
                feeds[feed] = now if now["last_error"] else now | _last_error(feeds.get(feed))
        row["feeds"] = [{name: feeds[feed][name] for name in _FEED} for feed in sorted(feeds)]
        row["open"] = counts.get(row["id"], 0)
        budget = budgets.get(row["id"])
        row["budget"] = None if budget is None else budget._asdict()


def _last_error(stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a process that began anew has not seen itself."""
    return {name: stored[name] if stored else None for name in ("last_error", "last_error_at")}


def _detail(name: str, rows: str, summary: str, row: dict[str, Any]) -> Operation:
    def handler(uow: SqlUnitOfWork, call: Call) -> Answer:
        one(uow, "instances", call.id())
        found: list[dict[str, Any]] = getattr(uow.reports, rows)([call.id()])
        return Answer(body={"items": [{key: one[key] for key in row["properties"]} for one in found]})

    return Operation(
        method="GET",
        path=f"{ROOT}/instances/{{id}}/{rows}",
        name=name,
        tag=_TAG,
        summary=summary,
        handler=handler,
        parameters=(ID,),
        answer=schemas.obj({"items": {"type": "array", "items": row}}),
        problems=("not-found",),
    )


def _link(uow: SqlUnitOfWork, call: Call) -> Answer:
    run_id, instance_id = UUID(call.body["run_id"]), UUID(call.body["instance_id"])
    known = uow.run_orchestrations.list(run_id=run_id, orchestration_instance_id=instance_id)
    link = runs.link(uow, call.service.rules(), run_id, instance_id, now=call.service.now())
    same = [one.version for one in known] == [link.version]
    return (there if same else made)(uow, "links", "/links", link.id)


def _unlink(uow: SqlUnitOfWork, call: Call) -> Answer:
    link = loaded(uow.run_orchestrations, "link", call)
    ids = (link.run_id, link.orchestration_instance_id)
    runs.unlink(uow, call.service.rules(), *ids, keep_apart=call["keep_apart"], now=call.service.now())
    details = {"run_id": str(ids[0]), "instance_id": str(ids[1]), "keep_apart": call["keep_apart"]}
    return Answer(body=None, status=204, subject=("link", link.id), details=details)


_KEEP_APART = Parameter(
    name="keep_apart",
    where="query",
    schema=schemas.BOOLEAN,
    description="Whether rules must leave the two apart.",
    default=True,
)

OPERATIONS = (
    listing(
        "engines",
        "/engines",
        tag=_TAG,
        summary="Engines and how their feeds are doing",
        row=schemas.ENGINE,
        filters=(filter_by("name", schemas.NAME, "Only the one of this name."),),
        shown=_add_feeds,
    ),
    detail("engines", "/engines/{id}", tag=_TAG, summary="An engine", row=schemas.ENGINE, shown=_add_feeds),
    listing(
        "instances",
        "/instances",
        tag=_TAG,
        summary="Instances: single runs in their engines, newest first",
        row=schemas.INSTANCE,
        filters=(
            filter_by("engine", schemas.NAME, "Only those of the engine of this name."),
            filter_by("engine_id", schemas.ID, "Only those of this engine."),
            filter_by("workflow", schemas.NAME, "Only those of this workflow."),
            filter_by("external_id", schemas.NAME, "Only those with this id in their engine."),
            filter_by("status", schemas.STATUS, "Only those with this status."),
            filter_by("linked", schemas.BOOLEAN, "Only those that count for a Run, or that count for none."),
            filter_by("run_id", schemas.ID, "Only those that count for this Run."),
            filter_by("search", schemas.line(200, "Text"), "Only those whose workflow, id or message holds this."),
        ),
    ),
    detail("instances", "/instances/{id}", tag=_TAG, summary="An instance", row=schemas.INSTANCE),
    _detail("instances.attempts", "attempts", "The attempts of an instance", schemas.ATTEMPT),
    _detail("instances.steps", "steps", "The steps of an instance", schemas.STEP),
    _detail("instances.observations", "observations", "What was told of an instance, and when", schemas.OBSERVATION),
    listing(
        "links",
        "/links",
        tag=_TAG,
        summary="Links between Runs and instances",
        row=schemas.LINK,
        filters=(
            filter_by("run_id", schemas.ID, "Only those of this Run."),
            filter_by("instance_id", schemas.ID, "Only those of this instance."),
        ),
    ),
    Operation(
        method="POST",
        path=f"{ROOT}/links",
        name="links.create",
        tag=_TAG,
        summary="Let an instance count for a Run",
        description="What the instance started follows the rules. A link that is there already stays as it is.",
        handler=_link,
        scope="write",
        status=201,
        body=schemas.obj({"run_id": schemas.ID, "instance_id": schemas.ID}),
        answer=schemas.LINK,
        problems=("unknown-reference", "refused"),
        versioned=True,
        again="There already, by hand",
    ),
    detail("links", "/links/{id}", tag=_TAG, summary="A link", row=schemas.LINK),
    Operation(
        method="DELETE",
        path=f"{ROOT}/links/{{id}}",
        name="links.delete",
        tag=_TAG,
        summary="Take a link off; no rule puts it back",
        description="With `keep_apart=false` it is undone: rules and suggestions see the two as if nobody had linked "
        "them.",
        handler=_unlink,
        scope="write",
        status=204,
        parameters=(ID, _KEEP_APART, VERSION),
        answer={},
        problems=("not-found", "stale-version"),
    ),
)
