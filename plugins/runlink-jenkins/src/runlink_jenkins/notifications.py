"""What Jenkins pushes: which build a notification is about. The adapter comes here.

The Notification plugin (1.17) posts JSON with `url` (`job/folder/job/name/`) and `build.number`; its `timestamp` is
that of the phase, not the build's. A plain `curl` step may post `job` and `build`, as JSON or as a form. What a build
came to is never taken from there: it is asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from runlink.spi import Delivery, DeliveryRejected


class BuildName(NamedTuple):
    """A build as people name it."""

    job: str
    number: int


def build_of(delivery: Delivery) -> BuildName:
    """The build that a delivery is about. Raises DeliveryRejected."""
    told = _told(delivery)
    build = told.get("build")
    if isinstance(build, Mapping):
        job, number = _job_of(told.get("url") or build.get("url")), build.get("number")
    elif told.get("url"):  # $BUILD_URL
        head, _, tail = str(told["url"]).rstrip("/").rpartition("/")
        job, number = _job_of(head), told.get("build", tail)
    else:
        job, number = told.get("job"), build
    try:
        counted = int(str(number))
    except ValueError:
        counted = 0
    if not isinstance(job, str) or not job.strip("/ ") or counted < 1:
        raise DeliveryRejected(
            "it names no build: send the Notification plugin's JSON, or job=$JOB_NAME and build=$BUILD_NUMBER"
        )
    return BuildName(job.strip("/ "), counted)


def _told(delivery: Delivery) -> Mapping[str, Any]:
    kind = dict(delivery.headers).get("content-type", "").partition(";")[0].strip().lower()
    if kind.endswith("xml"):
        raise DeliveryRejected("XML is not understood; set the endpoint's format to JSON")
    try:
        if kind == "application/x-www-form-urlencoded" and not delivery.body.lstrip().startswith(b"{"):
            form = parse_qs(delivery.body.decode(), max_num_fields=50)
            return {name: values[-1] for name, values in form.items()}
        told = msgspec.json.decode(delivery.body)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise DeliveryRejected(f"the body is not JSON that can be read: {error}") from None
    if not isinstance(told, Mapping):
        raise DeliveryRejected("the body is no JSON object")
    return told


def _job_of(url: Any) -> str | None:
    """The full name in a job's or build's address: `/jenkins/job/a/job/b/7/` -> `a/b`. Its host is not looked at."""
    parts = [unquote(part) for part in urlsplit(str(url or "")).path.split("/") if part]
    names = [name for word, name in itertools.pairwise(parts) if word == "job"]
    return "/".join(names) or None
