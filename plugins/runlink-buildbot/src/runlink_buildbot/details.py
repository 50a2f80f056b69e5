"""What belongs to a batch of build requests (builders, builds, origins, steps), read in few requests and made a page.
The adapter comes here.

All that is remembered between turns is a cache of what never changes in the engine; losing it costs requests only.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from runlink.spi import Context, NotFound, Observation, Page, Unreadable
from runlink_buildbot.rest import Rest, Row
from runlink_buildbot.translate import Builder, Facts, Origin, external_id, is_running, observe

RUNNING_STEP_READS: Final = 20
"""Running builds whose steps are read in one turn (one request each, the API has no other way); they take turns."""

ENDED_STEP_READS: Final = 100
"""Ended builds whose steps are read in one poll. The host has the rest read again if they are linked."""

_ORIGINS_KEPT: Final = 5_000
_STEPS_KEPT: Final = 500
_BUILDERS_FOR: Final = timedelta(hours=1)
_BUILD_PROPERTIES: Final = (("property", "workername"), ("property", "got_revision"))

_V = TypeVar("_V")


class _Cache(dict[int, _V]):
    """The oldest entries leave first."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def keep(self, entries: Mapping[int, _V]) -> None:
        self.update(entries)
        while len(self) > self._limit:
            del self[next(iter(self))]


class Details:
    """Reads what a page needs beside the build requests themselves. Used from one thread at a time."""

    def __init__(self, context: Context, rest: Rest) -> None:
        self._context = context
        self._rest = rest
        self._builders: dict[int, Builder] = {}
        self._builders_at: datetime | None = None
        self._builders_listed = False
        self._origins: _Cache[Origin] = _Cache(_ORIGINS_KEPT)
        self._ended_steps: _Cache[list[Row]] = _Cache(_STEPS_KEPT)
        self._last_running = 0
        self._running_left = self._ended_left = 0

    def begin_turn(self, *, steps_of_ended: bool = True) -> None:
        """Renews what one turn may read. A first look has too many ended builds to read the steps of each."""
        self._builders_listed = False
        self._running_left, self._ended_left = RUNNING_STEP_READS, ENDED_STEP_READS if steps_of_ended else 0

    def page(
        self,
        requests: Sequence[Row],
        cursors: Mapping[str, str],
        *,
        gone: tuple[str, ...] = (),
        asked_for: bool = False,
    ) -> Page:
        """A page of these build requests. `asked_for`: by id, so neither filtered nor short of steps."""
        unreadable = list(self._rest.take_unreadable())
        facts = self._read(requests, unreadable, asked_for=asked_for)
        observations: list[Observation] = []
        for each in facts:
            try:
                observations.append(observe(each))
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError) as error:
                unreadable.append(_unreadable(each.request, f"{type(error).__name__}: {error}"))
        unreadable += self._rest.take_unreadable()
        return Page(observations=observations, cursors=cursors, gone=gone, unreadable=tuple(unreadable))

    def _read(self, requests: Sequence[Row], unreadable: list[Unreadable], *, asked_for: bool) -> list[Facts]:
        wanted: list[tuple[Row, Builder]] = []
        for request in requests:
            builder = self._builder(request.get("builderid"))
            if builder is None:
                unreadable.append(_unreadable(request, f"no builder has the id {request.get('builderid')!r}"))
            elif asked_for or self._context.wants(builder.name):
                wanted.append((request, builder))
        builds = self._builds([request for request, _ in wanted])
        origins = self._origins_of([request for request, _ in wanted])
        steps = self._steps([build for tries in builds.values() for build in tries], asked_for=asked_for)
        return [
            Facts(
                request=request,
                builder=builder,
                builds=builds.get(request["buildrequestid"], ()),
                origin=origins.get(request.get("buildsetid") or 0, Origin()),
                steps=steps,
                url=self._context.url,
            )
            for request, builder in wanted
        ]

    def _builder(self, builder_id: Any) -> Builder | None:
        """Builders are listed once an hour, and when an unknown one turns up; at most once a turn."""
        age = None if self._builders_at is None else self._context.now() - self._builders_at
        stale = builder_id not in self._builders or age is None or age > _BUILDERS_FOR
        if stale and not self._builders_listed:
            self._builders = {
                row["builderid"]: Builder(row["name"], tuple(sorted(row.get("tags") or ())))
                for page in self._rest.pages("builders", "builderid")
                for row in page
            }
            self._builders_at, self._builders_listed = self._context.now(), True
        return self._builders.get(builder_id)

    def _builds(self, requests: Iterable[Row]) -> dict[int, list[Row]]:
        ids = [request["buildrequestid"] for request in requests]
        found: dict[int, list[Row]] = {}
        for build in self._rest.by_ids("builds", "buildid", "buildrequestid", ids, extra=_BUILD_PROPERTIES):
            found.setdefault(build["buildrequestid"], []).append(build)
        return found

    # --- origins -------------------------------------------------------------------------------------------------

    def _origins_of(self, requests: Iterable[Row]) -> Mapping[int, Origin]:
        wanted = {request["buildsetid"] for request in requests if isinstance(request.get("buildsetid"), int)}
        unknown = wanted - self._origins.keys()
        found = {id_: self._origins[id_] for id_ in wanted - unknown}
        if unknown:
            buildsets = self._rest.by_ids("buildsets", "bsid", "bsid", unknown)
            parents = self._parents({row["parent_buildid"] for row in buildsets if row.get("parent_buildid")})
            fresh = {row["bsid"]: _origin(row, parents) for row in buildsets}
            self._origins.keep(fresh)
            found.update(fresh)
        return found

    def _parents(self, build_ids: set[int]) -> dict[int, str]:
        """Build id -> external id of its build request."""
        if not build_ids:
            return {}
        builds = self._rest.by_ids("builds", "buildid", "buildid", build_ids)
        owners = {build["buildid"]: build["buildrequestid"] for build in builds}
        requests = self._rest.by_ids("buildrequests", "buildrequestid", "buildrequestid", set(owners.values()))
        names = {request["buildrequestid"]: external_id(request) for request in requests}
        return {build: names[request] for build, request in owners.items() if request in names}

    # --- steps ---------------------------------------------------------------------------------------------------

    def _steps(self, builds: Sequence[Row], *, asked_for: bool) -> dict[int, list[Row]]:
        """By build id. Builds whose turn it is not are absent, unless their steps are known and can change no more."""
        found: dict[int, list[Row]] = {}
        for build in self._in_turn(builds):
            known = self._ended_steps.get(build["buildid"])
            if known is None and (asked_for or self._may_read(build)):
                known = self._read_steps(build)
            if known is not None:
                found[build["buildid"]] = known
        return found

    def _in_turn(self, builds: Sequence[Row]) -> list[Row]:
        """Running builds after the one read last come first."""
        return sorted(builds, key=lambda build: (build["buildid"] <= self._last_running, build["buildid"]))

    def _may_read(self, build: Row) -> bool:
        if is_running(build):
            self._running_left -= 1
            if self._running_left >= 0:
                self._last_running = build["buildid"]
            return self._running_left >= 0
        self._ended_left -= 1
        return self._ended_left >= 0

    def _read_steps(self, build: Row) -> list[Row] | None:
        try:
            steps = self._rest.rows("steps", path=f"builds/{build['buildid']}/steps")
        except NotFound:
            return None
        if not is_running(build):
            self._ended_steps.keep({build["buildid"]: steps})
        return steps


def _origin(buildset: Row, parents: Mapping[int, str]) -> Origin:
    """Of the source stamps only what names a revision: repository addresses may carry passwords."""
    return Origin(
        reason=buildset.get("reason") or None,
        parent=parents.get(buildset.get("parent_buildid") or 0),
        relationship=buildset.get("parent_relationship") or None,
        rebuilt_build=buildset.get("rebuilt_buildid"),
        sources=tuple(
            told
            for stamp in buildset.get("sourcestamps") or ()
            if (
                told := {name: stamp[name] for name in ("codebase", "project", "branch", "revision") if stamp.get(name)}
            )
        ),
    )


def _unreadable(request: Mapping[str, Any], reason: str) -> Unreadable:
    try:
        name: str | None = external_id(request)
    except (KeyError, TypeError):
        name = None
    return Unreadable(raw=request, reason=reason, external_id=name)
