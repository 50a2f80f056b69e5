"""Which build a push is about, and that Jenkins is asked what became of it."""

import json
from datetime import UTC, datetime

import pytest

from runlink.spi import Delivery, DeliveryRejected
from runlink_jenkins.notifications import build_of

JSON = "application/json;charset=UTF-8"


def delivery(told, content_type=JSON):
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    return Delivery(
        id="1", received_at=datetime(2026, 1, 1, tzinfo=UTC), headers=(("content-type", content_type),), body=body
    )


def notification(**build):
    """As the Notification plugin 1.17 writes it (its Phase.java and its README)."""
    return {
        "name": "app",
        "display_name": "app",
        "url": "job/team/job/my%20app/",
        "build": {
            "full_url": "http://jenkins.example.org/jenkins/job/team/job/my%20app/18/",
            "number": 18,
            "queue_id": 44,
            "timestamp": 1763900000000,
            "duration": 0,
            "phase": "COMPLETED",
            "status": "SUCCESS",
            "url": "job/team/job/my%20app/18/",
            "scm": {"changes": [], "culprits": []},
            "log": "",
            "artifacts": {},
            **build,
        },
    }


@pytest.mark.parametrize("phase", ["QUEUED", "STARTED", "COMPLETED", "FINALIZED"])
def test_a_notification_names_its_build(phase):
    assert build_of(delivery(notification(phase=phase))) == ("team/my app", 18)


@pytest.mark.parametrize(
    ("told", "content_type"),
    [
        ({"job": "team/my app", "build": 18}, JSON),
        ({"job": "/team/my app/", "build": "18"}, JSON),
        ({"url": "http://jenkins.example.org/jenkins/job/team/job/my%20app/18/"}, JSON),
        (b"job=team%2Fmy+app&build=18", "application/x-www-form-urlencoded"),
        (b'{"job": "team/my app", "build": 18}', "application/x-www-form-urlencoded"),  # curl -d without a header
    ],
)
def test_a_curl_step_names_its_build(told, content_type):
    assert build_of(delivery(told, content_type)) == ("team/my app", 18)


@pytest.mark.parametrize(
    ("told", "content_type"),
    [
        (b"", JSON), (b"{", JSON), (b"[" * 90_000, JSON), (b"\xff", JSON), ([], JSON), ({}, JSON), ({"job": "a"}, JSON),
        ({"job": "a", "build": 0}, JSON), ({"job": "a", "build": "last"}, JSON), ({"job": " ", "build": 1}, JSON),
        ({"url": "http://x/job/a/lastBuild/"}, JSON), (notification(number=None), JSON),
        ({"build": {"number": 1}}, JSON),
        (b"<job/>", "application/xml;charset=UTF-8"), (b"a=\xff", "application/x-www-form-urlencoded"),
    ],
)  # fmt: skip
def test_what_names_no_build_is_rejected_with_a_reason(told, content_type):
    with pytest.raises(DeliveryRejected, match=r".{10}"):
        build_of(delivery(told, content_type))
