"""Adapters that are broken on purpose, each in one way that authors are known to get wrong, and the promises that each
of them breaks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import msgspec
from full_acme import FullAcmeAdapter, FullAcmeEngine
from runlink_rocket.adapter import RocketAdapter
from runlink_rocket.translate import observe
from scripted_rocket import RocketEngine

from runlink.spi import (
    AdapterError,
    CredentialsRejected,
    CursorExpired,
    Observation,
    Page,
    Polls,
    Receipt,
    TransientError,
    json_of,
    page_of,
)
from runlink.testing import ScriptedEngine, ScriptedRun

MANY = "test_ten_thousand_runs_in_bounded_memory"
SLOW = {
    "test_any_life_ends_the_same",
    "test_it_goes_on_after_any_page",
    "test_a_fault_in_any_request_loses_nothing",
    MANY,
}
"""Run only for the adapters that name them."""

BROKEN: list[tuple[type[RocketAdapter], type[ScriptedEngine], frozenset[str]]] = []


def breaks(*promises: str, engine: type[ScriptedEngine] = RocketEngine) -> Any:
    def note(adapter: type[RocketAdapter]) -> type[RocketAdapter]:
        BROKEN.append((adapter, engine, frozenset(f"test_{name.removeprefix('test_')}" for name in promises)))
        return adapter

    return note


def changed(page: Page, **facts: Any) -> Page:
    """The page with these facts in each of its observations; a function is asked for each."""
    told = [
        msgspec.structs.replace(o, **{k: v(o) if callable(v) else v for k, v in facts.items()})
        for o in page.observations
    ]
    return msgspec.structs.replace(page, observations=told)


class Judging(RocketAdapter):
    """Makes its requests by itself."""

    def _judged(self, answer: httpx.Response, *keys: str) -> Any:
        if answer.status_code == 410:
            raise CursorExpired("Acme no longer knows the place that was stored")
        return json_of(answer, self.context.now(), *keys)


class Changing(RocketAdapter):
    """Spoils each page."""

    def spoil(self, page: Page) -> Page:
        return page

    def poll(self, cursors: Any) -> Iterator[Page]:
        yield from map(self.spoil, super().poll(cursors))

    def refetch(self, external_ids: Sequence[str]) -> Iterator[Page]:
        yield from map(self.spoil, super().refetch(external_ids))


# --- reading ---------------------------------------------------------------------------------------------------------


@breaks("it_goes_on_after_any_page", "a_fault_in_any_request_loses_nothing")  # and MANY, which others have
class LosesThePagesAfterTheFirst(RocketAdapter):
    def poll(self, cursors: Any) -> Iterator[Page]:
        for number, page in enumerate(super().poll(cursors)):
            yield page if number == 0 else Page(cursors=page.cursors)


@breaks("it_goes_on_after_any_page", "a_fault_in_any_request_loses_nothing")
class StoresTheLastCursorFirst(RocketAdapter):
    def poll(self, cursors: Any) -> Iterator[Page]:
        told = self._get(
            "/api/runs", "runs", "next", params={"after": "start", "since": self.context.since.isoformat()}
        )
        pages: list[Page] = []
        if "runs" not in cursors and told["runs"]:
            place = told["next"]
            try:
                for page in super().poll(cursors):
                    pages.append(page)
                    place = page.cursors["runs"]
            finally:
                yield Page(cursors={"runs": place.partition("-")[0] + "-999"})
        yield from pages or super().poll(cursors)


class PatientAcme(RocketEngine):
    """Whose runs neither begin again nor are installed anew, so that ends alone tell late."""

    lacks = RocketEngine.lacks | {"reruns": "-", "attempts": "-", "deletion": "-", "resets": "-"}


@breaks(
    "a_late_finish_is_seen",
    "news_come_with_the_next_turn",
    "it_goes_on_after_any_page",
    "a_clock_that_differs_loses_nothing",
    "a_restart_of_the_engine_loses_nothing",
    "a_child_names_its_parent",
    engine=PatientAcme,
)
class ForgetsLateFinishes(Polls):
    """A high-water mark over the numbers of runs, and no look back."""

    name, config_schema = RocketAdapter.name, RocketAdapter.config_schema
    check, _get = RocketAdapter.check, RocketAdapter._get

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._client = context.http(headers={"Authorization": f"Bearer {context.config['token']}"})

    def poll(self, cursors: Any) -> Iterator[Page]:
        newest = cursors.get("newest", "0")
        if not newest.isdigit():
            raise CursorExpired("not one of ours")
        last = int(newest)
        for page in RocketAdapter.poll(self, {}):
            new = [o for o in page.observations if _number(o) > int(newest)]
            bad = [u for u in page.unreadable if int(u.raw["id"].partition("-")[2]) > int(newest)]
            last = max([last, *map(_number, new)])
            yield Page(observations=new, unreadable=tuple(bad))
        yield Page(cursors={"newest": str(last)})


def _number(observation: Observation) -> int:
    return int(observation.external_id.partition("-")[2])


@breaks("times_are_the_engines")
class DropsTheZone(Changing):
    def spoil(self, page: Page) -> Page:
        def shift(moment: datetime | None) -> datetime | None:
            return moment and moment.replace(tzinfo=UTC)

        times = ("created_at", "started_at", "finished_at")
        return changed(page, **{name: lambda o, name=name: shift(getattr(o, name)) for name in times})


@breaks("an_unknown_native_status_is_named")
class GuessesThatTheUnknownFailed(RocketAdapter):
    def poll(self, cursors: Any) -> Iterator[Page]:
        for page in super().poll(cursors):
            guessed = [observe(item.raw | {"state": "broken"}) for item in page.unreadable]
            yield msgspec.structs.replace(page, observations=[*page.observations, *guessed], unreadable=())


@breaks("an_unknown_native_status_is_named")
class SaysNothingOfTheUnknown(Changing):
    def spoil(self, page: Page) -> Page:
        return msgspec.structs.replace(page, unreadable=())


@breaks("the_same_again_changes_nothing")
class TellsWhenItLooked(Changing):
    def poll(self, cursors: Any) -> Iterator[Page]:
        yield from map(self.spoil, RocketAdapter.poll(self, {}))

    def spoil(self, page: Page) -> Page:
        return changed(page, message=lambda o: f"{o.message} (read at {self.context.now()})")


@breaks("tries_are_counted_as_the_engine_counts")
class NeverCountsTries(Changing):
    def spoil(self, page: Page) -> Page:
        return changed(page, attempt=1)


@breaks("a_child_names_its_parent")
class NamesTheParentByNumber(Changing):
    def spoil(self, page: Page) -> Page:
        return changed(page, parent=lambda o: o.parent and o.parent.partition("-")[2])


class NumberedAcme(RocketEngine):
    def external_id(self, run: ScriptedRun) -> str:
        return str(run.number)


@breaks("numbers_that_begin_again_are_other_runs", engine=NumberedAcme)
class IdentifiesByNumberAlone(RocketAdapter):
    pass


@breaks("unicode_arrives_as_it_was")
class SpeaksAscii(Changing):
    def spoil(self, page: Page) -> Page:
        return changed(page, message=lambda o: o.message and o.message.encode("ascii", "replace").decode())


class TimedAcme(FullAcmeEngine):
    lacks = RocketEngine.lacks


@breaks("a_clock_that_differs_loses_nothing", engine=TimedAcme)
class ReadsByItsOwnClock(RocketAdapter):
    """What changed since the last look, by the host's clock: right only where both clocks agree."""

    def poll(self, cursors: Any) -> Iterator[Page]:
        if "all" not in cursors:
            for page in super().poll({}):
                yield msgspec.structs.replace(page, cursors={})
            yield Page(cursors={"all": self.context.now().isoformat()})
            return
        try:
            since = datetime.fromisoformat(cursors["all"]) - timedelta(seconds=5)
        except ValueError:
            raise CursorExpired("not one of ours") from None
        now = self.context.now()
        told = self._get("/api/changed", "runs", params={"since": since.isoformat()})
        yield page_of(told["runs"], observe, cursors={"all": now.isoformat()})


@breaks("a_cursor_that_means_nothing_is_expired")
class TrustsItsCursor(RocketAdapter):
    def poll(self, cursors: Any) -> Iterator[Page]:
        if "runs" in cursors:
            int(cursors["runs"].partition("-")[2])
        yield from super().poll(cursors)


@breaks(MANY)
class GathersAllInOnePage(RocketAdapter):
    def poll(self, cursors: Any) -> Iterator[Page]:
        pages = list(super().poll(cursors))
        if pages:
            yield Page(observations=[o for p in pages for o in p.observations], cursors=pages[-1].cursors,
                       unreadable=tuple(u for p in pages for u in p.unreadable))  # fmt: skip


@breaks(MANY)
class RemembersEverything(Changing):
    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._seen: list[Page] = []

    def spoil(self, page: Page) -> Page:
        self._seen.append(page)
        return page


@breaks("what_the_engine_forgot", "a_refetch_says_what_is_gone")
class NeverSaysThatOneIsGone(Changing):
    def spoil(self, page: Page) -> Page:
        return msgspec.structs.replace(page, gone=())


# --- errors ----------------------------------------------------------------------------------------------------------


@breaks("401_is_credentials_rejected", "403_is_credentials_rejected")
class TakesRefusalForAPassingFault(RocketAdapter):
    def _get(self, *args: Any, **options: Any) -> Any:
        try:
            return super()._get(*args, **options)
        except CredentialsRejected as error:
            raise TransientError(str(error)) from None


@breaks("429_says_how_long_to_wait", "503_is_transient")
class IgnoresRetryAfter(RocketAdapter):
    def _get(self, *args: Any, **options: Any) -> Any:
        try:
            return super()._get(*args, **options)
        except TransientError as error:
            raise TransientError(str(error)) from None


@breaks("429_says_how_long_to_wait")
class TriesAgainByItself(RocketAdapter):
    def _get(self, *args: Any, **options: Any) -> Any:
        try:
            return super()._get(*args, **options)
        except TransientError:
            return super()._get(*args, **options)


@breaks(
    "html_is_an_error",
    "a_broken_answer_is_an_error",
    "a_fault_in_any_request_loses_nothing",
    "a_refetch_that_fails_says_so",
)
class TakesEveryBodyForJson(Judging):
    def _get(self, path: str, *keys: str, **options: Any) -> Any:
        answer = self._client.get(path, **options)
        return answer.json() if answer.status_code == 200 else self._judged(answer)


@breaks("a_refetch_that_fails_says_so", "close_unblocks_a_refetch")
class TakesAnErrorForADeletion(RocketAdapter):
    def refetch(self, external_ids: Sequence[str]) -> Iterator[Page]:
        try:
            yield from super().refetch(external_ids)
        except AdapterError:
            yield Page(gone=tuple(external_ids))


@breaks("404_from_everything_is_no_deletion")
class TakesNotFoundForNothingNew(RocketAdapter):
    def poll(self, cursors: Any) -> Iterator[Page]:
        answer = self._client.get("/api/version")
        if answer.status_code != 404:
            yield from super().poll(cursors)


# --- manners ---------------------------------------------------------------------------------------------------------


class _OwnClient(RocketAdapter):
    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._client = httpx.Client(
            base_url=context.url, headers={"Authorization": f"Bearer {context.config['token']}"}, timeout=6
        )

    def _get(self, *args: Any, **options: Any) -> Any:
        try:
            return super()._get(*args, **options)
        except httpx.HTTPError as error:
            raise TransientError(str(error)) from error

    def close(self) -> None:
        self._client.close()


@breaks("each_request_is_counted", "a_spent_budget_is_waited_for", "close_unblocks_a_poll", "close_unblocks_a_refetch",
        "close_may_be_repeated", "a_recording_makes_the_same_tables")  # fmt: skip
class HasAClientOfItsOwn(_OwnClient):
    """Past the budget, and past `close`."""


@breaks("a_recording_makes_the_same_tables")
class NeverAsksTheSame(RocketAdapter):
    def _get(self, path: str, *keys: str, **options: Any) -> Any:
        options["params"] = {**options.get("params", {}), "nonce": uuid4().hex}
        return super()._get(path, *keys, **options)


@breaks("close_unblocks_a_poll", "close_unblocks_a_refetch")
class IsSlowToClose(RocketAdapter):
    def close(self) -> None:
        if self._asking:
            threading.Event().wait(4.5)

    _asking = False

    def _get(self, *args: Any, **options: Any) -> Any:
        self._asking = True
        try:
            found = super()._get(*args, **options)
        except AdapterError as error:
            self._asking = str(error).startswith("closed:")
            raise
        self._asking = False
        return found


@breaks("close_may_be_repeated")
class ClosesOnce(RocketAdapter):
    def close(self) -> None:
        self._client.close()
        del self._client


@breaks("it_is_quiet_when_all_is_well")
class LogsEachPoll(Changing):
    def spoil(self, page: Page) -> Page:
        self.context.log.info("read %d runs", len(page.observations))
        return page


@breaks("it_is_quiet_when_all_is_well")
class Prints(Changing):
    def spoil(self, page: Page) -> Page:
        print(page)
        return page


@breaks("no_secret_is_told")
class LeaksTheTokenInAMessage(Changing):
    def spoil(self, page: Page) -> Page:
        return changed(page, message=lambda o: f"{o.message} (read with {self.context.config['token']})")


@breaks("no_secret_is_told")
class LeaksTheTokenInTheMetadata(Changing):
    def spoil(self, page: Page) -> Page:
        return changed(page, metadata={"headers": dict(self._client.headers)})


@breaks("no_secret_is_told")
class LeaksTheTokenInAnError(RocketAdapter):
    def _get(self, *args: Any, **options: Any) -> Any:
        try:
            return super()._get(*args, **options)
        except CredentialsRejected as error:
            raise CredentialsRejected(f"{error}: tried {self.context.config['token']}") from None


@breaks("no_secret_is_told")
class LeaksTheTokenInALog(Changing):
    def spoil(self, page: Page) -> Page:
        logging.getLogger("acme").debug("headers: %s", dict(self._client.headers))
        return page


@breaks("no_secret_is_told")
class LeaksWhatTheEngineEchoes(Judging):
    def _get(self, path: str, *keys: str, **options: Any) -> Any:
        answer = self._client.get(path, **options)
        if answer.status_code == 400:
            raise TransientError(f"Acme says: {answer.text}")
        return self._judged(answer, *keys)


# --- other feeds -----------------------------------------------------------------------------------------------------


@breaks(
    "a_watch_tells_what_changes",
    "a_watch_goes_on_where_it_was",
    "a_watch_that_breaks_loses_nothing",
    engine=FullAcmeEngine,
)
class WatchesInSilence(FullAcmeAdapter):
    def watch(self, cursors: Any) -> Iterator[Page]:
        for page in super().watch(cursors):
            yield Page(cursors=page.cursors)


@breaks("a_delivery_erases_nothing", engine=FullAcmeEngine)
class TakesAPushForTheWholeState(FullAcmeAdapter):
    def receive(self, delivery: Any) -> Receipt:
        (seen,) = super().receive(delivery).observations
        whole = msgspec.structs.replace(seen, complete=True, message="", parameters={}, attempt=seen.attempt + 1)
        return Receipt(observations=(whole,))


@breaks("a_delivery_that_makes_no_sense_is_rejected", engine=FullAcmeEngine)
class FallsOverNonsense(FullAcmeAdapter):
    def receive(self, delivery: Any) -> Receipt:
        msgspec.json.decode(delivery.body)["id"]
        return super().receive(delivery)


@breaks("a_delivery_is_understood", engine=FullAcmeEngine)
class ReceivesNothing(FullAcmeAdapter):
    def receive(self, delivery: Any) -> Receipt:
        super().receive(delivery)
        return Receipt()


class LosesARunNowAndThen(Changing):
    """Passes over a run that is cancelled in the second in which it began: only a life has that."""

    def spoil(self, page: Page) -> Page:
        kept = [o for o in page.observations if o.status != "CANCELLED" or o.started_at != o.finished_at]
        return msgspec.structs.replace(page, observations=kept)
