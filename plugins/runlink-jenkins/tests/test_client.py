"""The connection: what the server's answers mean, and what never gets out."""

from __future__ import annotations

import ast
import base64
import json
import logging
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests
import responses
from fake_jenkins import PIPELINE, FakeJenkins
from small_host import RECORDINGS, Bench, SmallHost, body, put_recorded_job, recording

import runlink.testing
import runlink_jenkins
from runlink.spi import CredentialsRejected, NotFound, TransientError
from runlink.testing import serve_exchanges
from runlink_jenkins import JenkinsAdapter, runlink_adapters
from runlink_jenkins.client import AnswerError, Client, path_of

SECRET = "11aa22bb33cc44dd55ee66ff77aa88bb99"


def answered(name: str) -> Any:
    """A server that answers everything with one recording."""
    response = recording(name)["response"]
    answer = response["body"].encode()
    headers = {k: v for k, v in response["headers"] if k not in ("Content-Length", "Transfer-Encoding")}
    return serve_exchanges(lambda *_: (response["status"], headers, answer))


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("starting-503", TransientError),
        ("starting-503-job", TransientError),
        ("starting-503-login", TransientError),
        ("tree-bad-syntax", AnswerError),
        ("auth-bad-token-401", CredentialsRejected),
        ("auth-unknown-user-401", CredentialsRejected),
        ("auth-none-403", CredentialsRejected),
        ("job-missing-404", NotFound),
        ("auth-nobody-job-404", NotFound),
        ("http-404-html", NotFound),
        ("error-404-accept-json", NotFound),
        ("build-deleted-404", NotFound),
        ("queue-item-404", NotFound),
        ("wfapi-missing", NotFound),
    ],
)
def test_every_recorded_refusal(name: str, error: type[Exception]) -> None:
    with answered(name) as engine, pytest.raises(error) as caught:
        Client(runlink.testing.build(JenkinsAdapter, engine.url).context).read("/job/x")
    assert "<html" not in str(caught.value).lower()


@pytest.mark.parametrize("name", ["starting-503", "http-404-html", "tree-bad-syntax"])
def test_a_poll_of_a_server_that_is_not_itself_is_transient(name: str) -> None:
    with answered(name) as engine, pytest.raises(TransientError):
        list(runlink.testing.build(JenkinsAdapter, engine.url).poll({}))


@pytest.mark.parametrize("page", [b"", b"<html>Please sign in</html>", b"[1, 2]", b"{", b"\xff\xfe", b'"text"'])
def test_an_answer_that_is_no_json_object_is_transient(page: bytes) -> None:
    with serve_exchanges(lambda *_: (200, {"Content-Type": "text/html"}, page)) as engine:
        adapter = runlink.testing.build(JenkinsAdapter, engine.url)
        with pytest.raises(TransientError):
            list(adapter.poll({}))
        with pytest.raises(TransientError):
            list(adapter.refetch(["job#1@5"]))


def test_texts_that_are_no_clean_unicode_are_read_all_the_same() -> None:
    with serve_exchanges(lambda *_: (200, {}, b'{"a": "\\ud800 and \xff"}')) as engine:
        assert Client(runlink.testing.build(JenkinsAdapter, engine.url).context).read("")["a"] == "? and �"


def test_a_server_that_is_not_there_is_transient() -> None:
    with serve_exchanges(lambda *_: (200, {}, b"{}")) as engine:
        url = engine.url
    with pytest.raises(TransientError):
        list(runlink.testing.build(JenkinsAdapter, url).poll({}))


@responses.activate
def test_faults_of_the_network_are_transient_whoever_raises_them() -> None:
    responses.get(re.compile(".*"), body=requests.ConnectionError(f"no route, user ann:{SECRET}"))
    adapter = runlink.testing.build(JenkinsAdapter, "http://ci.example", config={"user": "ann", "token": SECRET})
    with pytest.raises(TransientError) as caught:
        list(adapter.poll({}))
    assert SECRET not in str(caught.value)


@responses.activate
def test_gzip_is_asked_for_and_understood() -> None:
    answer = base64.b64decode(recording("gzip-api")["response"]["body_base64"])
    responses.get(re.compile(".*"), body=answer, headers={"Content-Encoding": "gzip"})
    found = Client(runlink.testing.build(JenkinsAdapter, "http://ci.example").context).read("")
    assert found["_class"] == "hudson.model.Hudson"
    assert responses.calls[0].request.headers["Accept-Encoding"] == "gzip"


def test_a_jenkins_below_a_path(bench: Bench) -> None:
    bench.jenkins.fill("a/b", 2)

    def below(method: str, path: str, headers: Any, data: bytes) -> Any:
        if not path.startswith("/ci/jenkins/"):
            return 404, {}, b"not here"
        return bench.jenkins.handle(method, path.removeprefix("/ci/jenkins"), headers, data)

    with serve_exchanges(below) as engine:
        adapter = runlink.testing.build(JenkinsAdapter, f"{engine.url}/ci/jenkins/", since=None, now=lambda: bench.now)
        host = SmallHost()
        host.turn(adapter)
        assert [row["url"] for row in host.table.values()] == [
            f"{engine.url}/ci/jenkins/job/a/job/b/{n}/" for n in (2, 1)
        ]


def test_the_recorded_paths_are_the_ones_we_make() -> None:
    for name, job in (("job-unicode", "weiß space (ü) +plus 日本"), ("job-in-folder", "team-a/sub folder/deep-job")):
        assert recording(name)["request"]["path"] == f"{path_of(job)}/api/json"
        assert body(name)["fullName"] == job


# --- check ----------------------------------------------------------------------------------------------------------
def test_check_tells_the_version_and_nothing_to_mend(bench: Bench) -> None:
    bench.jenkins.user, bench.jenkins.token = "ann", SECRET
    bench.jenkins.job("f/pipe", PIPELINE)
    bench.jenkins.build("f/pipe")
    bench.jenkins.stages = {("f/pipe", 1): {"stages": []}}
    info = bench.adapter(config={"user": "ann", "token": SECRET}).check()
    assert (info.product, info.version, info.warnings) == ("Jenkins", "2.426.2", ())
    assert len(bench.asked()) == 3


def test_check_says_what_to_mend(bench: Bench) -> None:
    bench.jenkins.quieting_down = True
    bench.jenkins.job("pipe", PIPELINE)
    bench.jenkins.build("pipe")
    first = bench.adapter().check().warnings
    bench.jenkins.job("pipe").hidden = True
    second = bench.adapter().check().warnings
    for warnings, words in ((first, ["anonymously", "quieting down", "pipeline-rest-api"]), (second, ["Item/Read"])):
        assert all(any(word in warning for warning in warnings) for word in words)


def test_check_of_a_wrong_token_and_of_none(bench: Bench) -> None:
    bench.jenkins.user, bench.jenkins.token = "ann", SECRET
    for config in ({}, {"user": "ann", "token": "wrong"}):
        with pytest.raises(CredentialsRejected):
            bench.adapter(config=config).check()


def test_check_of_an_address_without_a_jenkins() -> None:
    with answered("http-404-html") as engine, pytest.raises(TransientError, match="check the address"):
        runlink.testing.build(JenkinsAdapter, engine.url).check()


# --- secrets --------------------------------------------------------------------------------------------------------
def test_the_token_is_in_no_error_log_page_or_repr(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bench.jenkins.user, bench.jenkins.token = "ann", SECRET
    bench.jenkins.fill("job", 2)
    adapter = bench.adapter(config={"user": "ann", "token": SECRET})
    told = [repr(adapter), repr(list(adapter.poll({}))), repr(adapter.check())]
    bench.jenkins.token = "another"
    for call in (adapter.check, lambda: list(adapter.poll({})), lambda: list(adapter.refetch(["job#1@1"]))):
        with pytest.raises(CredentialsRejected) as caught:
            call()
        told += [str(caught.value), repr(caught.value)]
    told.append(caplog.text)
    assert not any(SECRET in text for text in told)


# --- the plugin -----------------------------------------------------------------------------------------------------
def test_the_hook_gives_the_adapter() -> None:
    assert list(runlink_adapters()) == [JenkinsAdapter]
    assert JenkinsAdapter.name == "jenkins"


def test_the_schema_is_one_and_its_defaults_pass_it() -> None:
    schema = dict(JenkinsAdapter.config_schema)
    validator = jsonschema.Draft202012Validator
    validator.check_schema(schema)
    assert schema["properties"]["token"]["x-secret"] is True
    defaults = {k: s["default"] for k, s in schema["properties"].items() if "default" in s}
    assert list(validator(schema).iter_errors(defaults | {"user": "u", "token": "t"})) == []
    for wrong in ({"user": "u"}, {"builds_per_job": 101}, {"sweep_interval_s": -1}, {"colour": 1}, {"token": ""}):
        assert list(validator(schema).iter_errors(wrong)), wrong
    assert all("description" in s for s in schema["properties"].values())


def test_the_readme_names_every_setting() -> None:
    readme = (RECORDINGS.parent.parent / "README.md").read_text("utf-8")
    assert all(f"`{key}`" in readme for key in JenkinsAdapter.config_schema["properties"])


def test_the_plugin_imports_the_spi_and_nothing_else_of_runlink() -> None:
    sources = Path(str(runlink_jenkins.__file__)).parent.glob("*.py")
    nodes = [node for source in sources for node in ast.walk(ast.parse(source.read_text("utf-8")))]
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    assert {m for m in modules if m.partition(".")[0] == "runlink"} == {"runlink.spi"}


def test_the_fake_answers_recorded_trees_as_jenkins_did() -> None:
    jenkins = FakeJenkins()
    gap = body("job-gap-tree")
    put_recorded_job(jenkins, {"fullName": "gap-job", "_class": gap["_class"], "builds": gap["allBuilds"]})
    for name in ("0-2", "2-100", "2-open", "beyond", "single"):
        exchange = recording(f"job-gap-range-{name}")
        status, _, answer = jenkins.handle("GET", exchange["request"]["path"], {}, b"")
        assert (status, json.loads(answer)) == (200, json.loads(exchange["response"]["body"])), name
    assert jenkins.handle("GET", recording("tree-bad-syntax")["request"]["path"], {}, b"")[0] == 500
    assert jenkins.handle("GET", recording("tree-too-long-414")["request"]["path"], {}, b"")[0] == 414
