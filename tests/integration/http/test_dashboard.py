"""The page is served as it lies there, and the API tells what only it asks for: trails, budgets, links undone."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from runlink.domain import Engine, ExecutionStatus, OrchestrationInstance, Run, RunOrchestration
from runlink.hosting.meters import Budget
from runlink.http.dashboard import ASSETS, VIEWS

API = "/api/v1"


def pages():
    return [path.replace("{id}", "01a21302-07d0-777f-8423-4566a450bee0") for path in VIEWS]


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_is_at_each_of_its_addresses_and_everything_it_names_is_there(served):
    client = served.client()
    answers = [client.get(path) for path in pages()]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    text = answers[0].text
    named = re.findall(r'(?:href|src)="(/static/[^"]+)"', text)
    assert f"{ASSETS}/main.js" in named
    for path in named:
        assert client.get(path).status_code == 200, path
    scripts = {path for path in named if path.endswith(".js")}
    for path in scripts:
        imports = re.findall(r'from "\./([a-z]+\.js)"', client.get(path).text)
        assert {f"{ASSETS}/{name}" for name in imports} <= scripts, "a module that is not fetched ahead"


def test_nothing_is_inline_so_that_the_content_policy_holds(served):
    client = served.client()
    for path in ("/runs", "/login"):
        answer = client.get(path)
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert not re.findall(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", answer.text)


def test_a_browser_asks_again_and_fetches_only_what_is_new(served):
    client = served.client()
    first = client.get(f"{ASSETS}/main.js")
    assert first.headers["content-type"].startswith("text/javascript")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get(f"{ASSETS}/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"{ASSETS}/main.js", headers={"If-None-Match": '"old"'}).status_code == 200


def test_there_is_nothing_beside_it(served):
    for path in (f"{ASSETS}/__init__.py", f"{ASSETS}/../app.py", f"{ASSETS}/%2e%2e/app.py", f"{ASSETS}/", "/runs/a/b"):
        assert served.client().get(path).status_code == 404, path


# --- what it asks for -------------------------------------------------------------------------------------------------


@pytest.fixture
def passed(store, record, t0):
    """The Run has been in two engines: in `cd` first, in `ci` with two instances of which one failed."""
    other = Engine(name="cd", type="argo")
    begun = [(record.engine, 2, "COMPLETED"), (record.engine, 3, "FAILED"), (other, 1, "PROCESSING")]
    with store.unit_of_work("test") as uow:
        uow.engines.add(other)
        for number, (engine, minute, status) in enumerate(begun):
            one = OrchestrationInstance(
                engine_id=engine.id,
                external_id=f"t-{number}",
                status=ExecutionStatus(status),
                started_at=t0 + timedelta(minutes=minute),
            )
            uow.orchestration_instances.add(one)
            uow.run_orchestrations.add(RunOrchestration(run_id=record.run.id, orchestration_instance_id=one.id))
        uow.runs.add(Run(automation_id=record.automation.id, correlation_id="tuesday"))


def test_a_listed_run_tells_the_engines_it_passed(served, record, passed):
    trail = [
        {"engine": "cd", "type": "argo", "status": "PROCESSING", "instances": 1},
        {"engine": "ci", "type": "acme", "status": "FAILED", "instances": 2},
    ]
    items = served.get(f"{API}/runs").json()["items"]
    assert {one["correlation_id"]: one["trail"] for one in items} == {"monday": trail, "tuesday": []}
    assert served.get(f"{API}/runs/{record.run.id}").json()["trail"] == trail


def test_what_is_taken_off_is_no_part_of_the_trail(served, record, passed):
    for link in served.get(f"{API}/links").json()["items"]:
        assert served.delete(f"{API}/links/{link['id']}").status_code == 204
    assert served.get(f"{API}/runs/{record.run.id}").json()["trail"] == []


def test_an_engine_tells_what_is_left_of_its_budget(served, record):
    (engine,) = served.get(f"{API}/engines").json()["items"]
    assert engine["budget"] is None, "nobody follows it here"
    object.__setattr__(served.service, "budgets", lambda: {record.engine.id: Budget(left=3, per_minute=60.0)})
    (engine,) = served.get(f"{API}/engines").json()["items"]
    assert engine["budget"] == {"left": 3, "per_minute": 60.0}


def test_a_link_that_is_undone_is_suggested_again_and_one_taken_off_is_not(served, store, record):
    with store.unit_of_work("test") as uow:
        named = OrchestrationInstance(engine_id=record.engine.id, external_id="n", parameters={"key": "monday"})
        uow.orchestration_instances.add(named)

    def suggested():
        rows = served.get(f"{API}/inbox/instances").json()["items"]
        return [one["run_id"] for row in rows if row["id"] == str(named.id) for one in row["suggestions"]]

    def link():
        pair = {"run_id": str(record.run.id), "instance_id": str(named.id)}
        return served.post(f"{API}/links", json=pair).json()["id"]

    assert suggested() == [str(record.run.id)]
    link_id = link()
    assert suggested() == []
    assert served.delete(f"{API}/links/{link_id}", params={"keep_apart": "false"}).status_code == 204
    assert suggested() == [str(record.run.id)]
    assert link() == link_id, "the same row again"
    assert served.delete(f"{API}/links/{link_id}").status_code == 204
    assert suggested() == []


def test_a_person_who_went_astray_finds_the_page_and_a_program_a_problem(served):
    person = served.client().get("/nowhere", headers={"Accept": "text/html,application/xhtml+xml"})
    assert (person.status_code, person.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "/static/dashboard/main.js" in person.text
    assert served.client().get("/nowhere").headers["content-type"] == "application/problem+json"
