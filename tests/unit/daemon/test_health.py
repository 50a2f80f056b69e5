"""What is said of a feed, and how often."""

import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runlink.daemon.health import STATES, Health

START = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "feed-states.md"


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "runlink")
    return lambda: caplog.records


def at(seconds):
    return START + timedelta(seconds=seconds)


def test_the_loss_is_said_once_and_the_return_once(lines):
    health = Health("ci")
    health.succeeded(at(0), 0.1)
    for n in range(1, 50):
        health.failed("lost", f"no answer {n}", at(n))
    assert (health.state, health.since, health.failures, health.last_error) == ("lost", at(1), 49, "no answer 49")
    health.succeeded(at(60), 0.2)
    health.succeeded(at(61), 0.2)
    assert [line.getMessage() for line in lines()] == ["ci: lost: no answer 1", "ci: back after 59 s"]
    assert (health.state, health.since, health.failures, health.last_error) == ("ok", at(60), 0, "no answer 49")
    assert (health.last_success_at, health.last_error_at) == (at(61), at(49))


def test_each_state_is_said_once_per_outage_however_they_alternate(lines):
    health = Health("ci")
    for n in range(20):
        health.failed(("lost", "denied", "faulty")[n % 3], "x", at(n))
    assert len(lines()) == 3
    health.succeeded(at(30), 1.0)
    health.failed("lost", "x", at(31))
    assert [line.getMessage() for line in lines()[3:]] == ["ci: back after 30 s", "ci: lost: x"]


def test_the_first_success_says_nothing(lines):
    Health("ci").succeeded(at(0), 0.1)
    assert lines() == []


def test_a_bug_is_one_record_with_its_traceback(lines):
    health = Health("ci")
    for _ in range(3):
        health.failed("faulty", "ValueError: x", at(0), ValueError("x"))
    (line,) = lines()
    assert line.levelno == logging.ERROR
    assert line.exc_info[0] is ValueError


def test_items_set_aside_are_said_while_they_grow(lines):
    health = Health("ci")
    for items in (0, 2, 2, 2, 3, 0, 1):
        health.set_aside(items)
    assert [line.getMessage().split(";")[0] for line in lines()] == [
        "ci: 2 items set aside",
        "ci: 3 items set aside",
        "ci: 1 items set aside",
    ]


def test_every_state_has_a_heading_that_says_what_to_do():
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.M | re.S))
    assert tuple(sections) == STATES
    assert all("Do: " in text for text in sections.values())
