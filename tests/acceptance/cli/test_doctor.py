"""`doctor`: what is wrong, with its remedy; `backup`: a whole copy, also while somebody writes."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest
from tests.acceptance.cli.conftest import install

from runlink.bootstrap import Runlink
from runlink.domain import Automation, Run
from runlink.store import open_store
from runlink.store.feed_health import FeedHealthRow


@pytest.fixture
def findings(place):
    """findings(): what the doctor finds, (severity, about, problem) each, but for the daemon that no test starts."""

    def found(code, *arguments):
        said = place("doctor", "-o", "json", *arguments)
        rows = [row for row in said.json if row["about"] != "daemon"]
        assert said.code == code, said.out
        assert all(row["remedy"] for row in rows)
        return [(row["severity"], row["about"], row["problem"]) for row in rows]

    return found


@pytest.fixture
def feed(place):
    """feed(state="lost", …): the health of the engine `ci` as a daemon wrote it down."""

    def write(**values):
        runlink = Runlink.open_record()
        engine = runlink.register().engines["ci"]
        facts = {"engine_id": engine.id, "feed": "poll", "state": "ok", "since": None, "last_success_at": None,
                 "last_news_at": None, "relists": 0, "failures": 0, "last_error": None, "last_duration_s": 0.1,
                 "requests": 1, "skew_s": None}  # fmt: skip
        runlink.store.write(lambda uow: uow.feed_health.store([FeedHealthRow(**facts | values)]), actor="daemon")
        runlink.close()

    return write


def test_nothing_is_wrong_but_that_nobody_runs_it(place, acme):
    place.configure(("ci", acme))
    place.ok("db", "upgrade")
    said = place("doctor")
    assert said.code == 3
    assert "no `runlink serve` runs on this store" in said.out
    assert len(said.out.splitlines()) == 2, "a title and the one finding"


def test_all_is_well_without_engines(place):
    place.configure()
    place.ok("db", "upgrade")
    assert "all is well" in place.ok("doctor").err


def test_a_configuration_that_cannot_be_read_is_told_whole(place, findings):
    place.config.write_text("[stor]\n[engines.ci]\n")
    assert {problem for _, about, problem in findings(1) if about == "configuration"} >= {
        "engines.ci.type: is missing",
        "stor: unknown key; did you mean 'store'?",
    }


def test_a_store_that_is_not_set_up_or_too_new(place, findings):
    place.configure()
    found = findings(3)
    assert [one[:2] for one in found if "is not there" in one[2]] == [("warning", "store")]
    assert not (place.path / "runlink.db").exists()
    place.ok("db", "upgrade")
    (place.path / "runlink.db").chmod(0o644)
    assert any("may be read by anyone" in one[2] for one in findings(3))
    with sqlite3.connect(place.path / "runlink.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert any("at schema 9999" in one[2] for one in findings(1))


def test_an_engine_that_is_not_there_and_one_that_warns(place, findings, new_engine):
    up, down = new_engine(), new_engine()
    up.warnings, down.mode = ["the stages cannot be read"], "denied"
    place.configure(("up", up), ("down", down), ("gone", "http://127.0.0.1:1"))
    place.ok("db", "upgrade")
    found = {about: (severity, problem) for severity, about, problem in findings(1)}
    assert found["engine up"] == ("warning", "the stages cannot be read")
    assert found["engine down"][0] == found["engine gone"][0] == "error"


def test_a_plugin_that_is_refused_and_a_type_that_nobody_brings(place, findings, monkeypatch, tmp_path):
    broken = tmp_path / "more"
    broken.mkdir()
    (broken / "runlink_broken.py").write_text("raise RuntimeError('no')\n")
    install(broken, "broken", "runlink_broken", "1")
    place.configure(more='[engines.x]\ntype = "nobodys"\nurl = "http://127.0.0.1:1"\n')
    place.ok("db", "upgrade")
    monkeypatch.syspath_prepend(broken)
    found = findings(1)
    assert any(about == "plugin broken" for _, about, _ in found)
    assert any(problem.startswith("engines.x.type: ") for _, about, problem in found if about == "configuration")


def test_a_secret_that_others_may_read(place, findings):
    (place.path / "password").write_text("x")
    (place.path / "password").chmod(0o644)
    url = '[store]\nurl = "postgresql://me@127.0.0.1:1/x"\npassword = { file = "password" }\n'
    place.configure(more=url)
    found = {about: (severity, problem) for severity, about, problem in findings(1)}
    assert found["store.password"][0] == "warning"
    assert "may be read by others" in found["store.password"][1]
    assert found["store"][0] == "error"


def test_feeds_that_are_lost_or_late_are_told_while_a_daemon_runs(place, findings, feed, acme):
    place.configure(("ci", acme), poll_interval_s=10)
    runlink = Runlink.open_record()
    with runlink.lease():
        feed(state="lost", last_error="no route")
        assert findings(1) == [("error", "engine ci", "lost: no route")], "the check reaches it, the daemon does not"
        acme.mode = "down"
        ((severity, about, problem),) = findings(1)
        assert (severity, about) == ("error", "engine ci")
        assert "answered 503" in problem, "told once, by the check that has just failed"
        acme.mode = "ok"
        late = datetime.now(UTC) - timedelta(minutes=10)
        feed(last_success_at=late)
        ((severity, about, problem),) = findings(3)
        assert (severity, about) == ("warning", "engine ci")
        assert problem.startswith("was last read 60")
        feed(last_success_at=datetime.now(UTC), last_duration_s=12.0)
        assert findings(3) == [
            ("warning", "engine ci", "a poll takes 12 s, longer than its interval of 10 s"),
        ]
        feed(last_success_at=datetime.now(UTC))
        assert findings(0) == []
    runlink.close()


def test_silent_runs_and_stuck_subscribers(place, findings):
    place.configure()
    place.ok("db", "upgrade")
    store = open_store(f"sqlite:///{place.path}/runlink.db")
    automation = Automation(name="a")
    run = Run(automation_id=automation.id)
    run.flag_silent(run.created_at)
    with store.unit_of_work("test") as uow:
        uow.automations.add(automation)
        uow.runs.add(run)
        uow.outbox.enrol("chat")
        uow.outbox.failed("chat", 0, "no such room", run.created_at)
    store.close()
    assert findings(3) == [
        ("warning", "subscriber chat", "failed 1 times in a row: no such room"),
        ("warning", "runs", "1 open Runs are without news"),
    ]


# --- backup -------------------------------------------------------------------------------------------------------


def test_a_copy_is_whole_while_somebody_writes_and_readable_by_its_owner_alone(place):
    place.configure()
    place.ok("automations", "create", "before")
    store = open_store(f"sqlite:///{place.path}/runlink.db")
    stop = threading.Event()
    written = []

    def write():
        while not stop.is_set():
            name = f"a{len(written)}"
            store.write(lambda uow: uow.automations.add(Automation(name=name, description="x" * 5000)), actor="test")  # noqa: B023
            written.append(name)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        said = place.ok("backup", "copy.db")
    finally:
        stop.set()
        writer.join()
        store.close()
    assert "copy.db holds" in said.err
    copy = place.path / "copy.db"
    assert copy.stat().st_mode & 0o777 == 0o600
    kept = open_store(f"sqlite:///{copy}")
    with kept.reading() as uow:
        names = [automation.name for automation in uow.automations.list(limit=100_000)]
    kept.close()
    assert names == ["before", *written][: len(names)], "one moment: nothing is missing in between"
    assert [path.name for path in place.path.glob(".copy*")] == []


def test_a_copy_replaces_nothing_and_leaves_nothing_behind(place):
    place.configure()
    place.ok("db", "upgrade")
    (place.path / "there").write_text("mine")
    said = place("backup", "there")
    assert (said.code, "is there already" in said.err, (place.path / "there").read_text()) == (1, True, "mine")
    said = place("backup", "nowhere/copy.db")
    assert (said.code, "failed" in said.err) == (1, True)
    assert sorted(path.name for path in place.path.iterdir() if "copy" in path.name) == []


def test_a_webhook_that_waits_for_a_token_which_nobody_has_is_found(place, findings):
    webhook = '[engines.cd]\ntype = "cdevents"\n[engines.cd.webhook]\nauthentication = "runlink-token"\n'
    place.configure(more=webhook)
    place.config.write_text(place.config.read_text().replace("'cloudevents', ", ""))
    place.ok("db", "upgrade")
    told = ("warning", "engine cd", "no valid token has the scope hooks, so nothing can be pushed")
    assert told in findings(3)
    place.ok("tokens", "create", "cd", "--scope", "hooks")
    assert told not in findings(3)
    place.ok("tokens", "revoke", "cd")
    assert told in findings(3)


def test_a_secret_of_a_webhook_that_others_may_read_is_found(place, findings):
    webhook = '[engines.cd]\ntype = "cdevents"\n[engines.cd.webhook]\nsecrets = [{ file = "key" }]\n'
    place.configure(more=webhook)
    place.config.write_text(place.config.read_text().replace("'cloudevents', ", ""))
    key = place.path / "key"
    key.write_text("x")
    key.chmod(0o644)
    place.ok("db", "upgrade")
    assert ("warning", "engines.cd.webhook.secrets", f"{key} may be read by others") in findings(3)
