"""What Buildbot's HttpStatusPush sends: a build at its start and at its end. The adapter's `receive` comes here.

A push is about a build, one try of the request that runlink follows. It does not say which try, nor when the request
itself ended; so it is told as a part, and the request is read again.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from runlink.spi import DeliveryRejected, ExecutionStatus, Observation
from runlink_buildbot.translate import RESULTS, RETRY, Row, build_url, external_id, sentence

FORMATTER = "MessageFormatterFunction(lambda context: context['build'], 'json')"


def understood(body: bytes, url: str) -> Observation:
    """The build request as far as the push shows it; `url` is where the master answers.

    Raises DeliveryRejected for anything but a build.
    """
    if not body.strip():
        raise DeliveryRejected(
            "the body is empty: give the reporter's BuildStartEndStatusGenerator a start_formatter and an "
            f"end_formatter, both {FORMATTER}"
        )
    try:
        build = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DeliveryRejected(f"the body is not JSON ({error}): the formatters must be {FORMATTER}") from None
    try:
        return observe_push(build, url)
    except (KeyError, TypeError, ValueError, OverflowError, OSError, AttributeError) as error:
        raise DeliveryRejected(
            f"the body shows no build of Buildbot ({type(error).__name__}: {error}): the formatters must be {FORMATTER}"
        ) from None


def observe_push(build: Row, url: str) -> Observation:
    """The observation of one pushed build. Raises ValueError, KeyError or TypeError for what is none."""
    request, builder = build["buildrequest"], build["builder"]
    status, native = _state(build)
    properties: Mapping[str, Any] = build["properties"]
    scheduler = properties.get("scheduler", (None,))[0]
    tags = builder.get("tags") or ()
    labels = {"tags": ",".join(sorted(tags))} if tags else {}
    if isinstance(scheduler, str):
        labels["scheduler"] = scheduler
    return Observation(
        external_id=external_id(request),
        workflow=builder["name"],
        status=status,
        native_status=native,
        created_at=datetime.fromtimestamp(request["submitted_at"], UTC),
        started_at=datetime.fromtimestamp(build["started_at"], UTC),
        url=build_url(url, build),
        labels=labels or None,
        message=sentence(build) or None,
        complete=False,
    )


def _state(build: Row) -> tuple[ExecutionStatus, str]:
    """Of the request: a build that ended with RETRY gives it back to be built again, any other end is its own."""
    if not build["complete"]:
        return ExecutionStatus.PROCESSING, "building"
    if build["results"] not in RESULTS:
        raise ValueError(f"results is {build['results']!r}; Buildbot 4.3.0 knows 0 to 6")
    if build["results"] == RETRY:
        return ExecutionStatus.RETRYING, "claimed"
    word, status = RESULTS[build["results"]]
    return status, word
