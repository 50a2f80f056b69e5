"""What an adapter is given, and what never gets out of it."""

from __future__ import annotations

import base64
import io
import logging
from datetime import UTC, datetime
from typing import ClassVar

import pytest

from runlink import testing
from runlink.application.settings import EngineSettings, Secret
from runlink.hosting import AdapterFault, SecretUnavailable, build_adapter
from runlink.hosting.secrets import MASK, Redactor, resolve
from runlink.spi import Adapter, ConfigRejected, EngineInfo

SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def now():
    return datetime(2026, 1, 8, tzinfo=UTC)


class Plain(Adapter):
    name = "plain"
    config_schema: ClassVar = {"type": "object", "properties": {"token": {"type": "string", "x-secret": True}}}

    def check(self):
        return EngineInfo(product="p", version="1")


def settings(**fields):
    return EngineSettings(**{"name": "eng", "type": "plain", "url": "http://h/base/", **fields})


def test_the_context_tells_what_was_settled(monkeypatch):
    monkeypatch.setenv("TOKEN", "s3cret\n")
    hosted = build_adapter(
        Plain,
        settings(options={"token": Secret(env="TOKEN"), "deep": {"a": [Secret(env="TOKEN")]}}, exclude=("x/*",)),
        now=now,
        since=SINCE,
        backfill=True,
    )
    context = hosted.adapter.context
    assert (context.engine, context.url, context.since, context.backfill) == ("eng", "http://h/base", SINCE, True)
    assert context.config == {"token": "s3cret", "deep": {"a": ["s3cret"]}}
    assert context.now() == now()
    assert context.wants("a/b")
    assert not context.wants("x/b")
    assert hosted.redact("the s3cret word") == f"the {MASK} word"


def test_the_base_address_may_have_a_path():
    with testing.serve_exchanges(lambda m, path, h, b: (200, {}, path.encode())) as engine:
        context = testing.build(Plain, f"{engine.url}/jenkins/").context
        assert context.http().get("/api/json").text == "/jenkins/api/json"


def test_secrets_come_from_files_too(tmp_path):
    path = tmp_path / "token"
    path.write_text("from file\r\n")
    assert resolve({"token": Secret(file=path)}, "engines.e") == ({"token": "from file"}, {"from file"})


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        (Secret(env="NO_SUCH_TOKEN"), "engines.e.token: the environment variable NO_SUCH_TOKEN is not set"),
        (Secret(env="EMPTY"), "engines.e.token: the environment variable EMPTY is empty"),
        (Secret(), "engines.e.token: the secret names neither env nor file"),
    ],
)
def test_a_missing_secret_is_named_by_key_and_source(secret, says):
    with pytest.raises(SecretUnavailable) as caught:
        resolve({"token": secret}, "engines.e", {"EMPTY": "\n"})
    assert str(caught.value).startswith(says)


def test_a_missing_secret_file_is_named(tmp_path):
    with pytest.raises(SecretUnavailable, match=r"engines\.e\.a\[0\]: the file .*gone cannot be read: No such file"):
        resolve({"a": [Secret(file=tmp_path / "gone")]}, "engines.e")


def test_redaction_knows_the_forms_a_secret_travels_in():
    redactor = Redactor(["pa ss/wörd\"'"], users=["joe"])
    basic = base64.b64encode(b"joe:pa ss/w\xc3\xb6rd\"'").decode()
    text = redactor.redact(f"pa ss/wörd\"' pa%20ss%2Fw%C3%B6rd%22%27 pa+ss%2Fw%C3%B6rd%22%27 Basic {basic}")
    assert text == f"{MASK} {MASK} {MASK} Basic {MASK}"
    assert Redactor([""]).redact("as it was") == "as it was"


def test_secrets_never_reach_a_log_record():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    records = []
    handler.addFilter(lambda record: records.append(record) or True)
    root = logging.getLogger("runlink.engines")
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        log = testing.build(Plain, "http://h", config={"token": "hunter2"}).context.log
        log.warning("token is %s", "hunter2")
        log.info("in %(where)s", {"where": {"hunter2": 1}})
        log.warning("%d does not fit", "hunter2")
        try:
            raise ValueError("hunter2 in the exception")
        except ValueError:
            log.exception("failed")
        log.error("as an object", exc_info=KeyError("hunter2"), extra={"engine": "kept", "detail": ["hunter2"]})
    finally:
        root.removeHandler(handler)
        root.setLevel(logging.NOTSET)
    assert "hunter2" not in stream.getvalue()
    assert "hunter2" not in repr([vars(record) for record in records])
    assert "ValueError" in stream.getvalue()
    assert len(records) == 5
    assert records[0].name == "runlink.engines.test"
    assert records[0].engine == "test"


def test_the_loggers_level_is_that_of_its_parent_at_any_time():
    log = testing.build(Plain, "http://h").context.log
    parent = logging.getLogger("runlink.engines")
    try:
        parent.setLevel(logging.ERROR)
        assert not log.isEnabledFor(logging.INFO)
        parent.setLevel(logging.INFO)
        assert log.isEnabledFor(logging.INFO)
    finally:
        parent.setLevel(logging.NOTSET)


class Failing(Plain):
    raises: BaseException

    def __init__(self, context):
        raise self.raises


@pytest.mark.parametrize("raised", [KeyError("hunter2"), SystemExit(3), RuntimeError("two\nlines")])
def test_a_constructor_that_raises_is_a_fault_in_one_line(raised):
    failing = type("Failing", (Failing,), {"raises": raised})
    with pytest.raises(AdapterFault) as caught:
        testing.build(failing, "http://h", config={"token": "hunter2"})
    assert str(caught.value).startswith(
        f"engine 'test': the adapter Failing could not be made: {type(raised).__name__}"
    )
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_constructor_may_reject_the_configuration():
    failing = type("Failing", (Failing,), {"raises": ConfigRejected("no such project")})
    with pytest.raises(ConfigRejected, match="no such project"):
        testing.build(failing, "http://h")


def test_a_close_that_raises_is_logged_and_the_rest_is_closed():
    class Clinging(Plain):
        def close(self):
            raise SystemExit("hunter2")

    hosted = build_adapter(Clinging, settings(options={"token": "hunter2"}), now=now, since=SINCE)
    client = hosted.context.http()
    hosted.close()
    hosted.close()
    assert hosted.guard.closed
    assert client.is_closed


def test_a_look_back_without_a_time_zone_is_refused():
    with pytest.raises(ValueError, match="no time zone"):
        build_adapter(Plain, settings(), now=now, since=datetime(2026, 1, 1))  # noqa: DTZ001
