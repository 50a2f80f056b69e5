"""The REST API over a real connection: what is made, changed, listed, and what is refused."""

from __future__ import annotations

import pytest
from tests.integration.http.conftest import problem

from runlink.domain import new_id

API = "/api/v1"


def test_an_automation_is_made_changed_and_listed(served):
    made = served.post(f"{API}/automations", json={"name": "nightly", "batch_schema": {"type": "object"}})
    assert made.status_code == 201
    assert made.headers["etag"] == '"1"'
    assert made.json()["created_by"] == "token:admin"
    place = made.headers["location"]
    assert served.get(place).json() == made.json()
    changed = served.patch(place, json={"batch_schema": None}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["batch_schema"], changed.headers["etag"]) == (200, None, '"2"')
    assert [row["name"] for row in served.get(f"{API}/automations").json()["items"]] == ["nightly"]


def test_a_change_must_name_the_version_it_saw(served, record):
    place = f"{API}/automations/{record.automation.id}"
    problem(served.patch(place, json={"item_schema": {}}), "version-required")
    served.patch(place, json={"item_schema": {}}, headers={"If-Match": '"1"'})
    stale = problem(served.patch(place, json={"item_schema": None}, headers={"If-Match": '"1"'}), "stale-version")
    assert stale["version"] == 2


def test_a_run_is_made_once_for_one_key(served, record):
    body = {"automation_id": str(record.automation.id), "correlation_id": "tuesday"}
    key = {"Idempotency-Key": "build 7".replace(" ", "-")}
    first = served.post(f"{API}/runs", json=body, headers=key)
    again = served.post(f"{API}/runs", json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    problem(served.post(f"{API}/runs", json={**body, "correlation_id": "x"}, headers=key), "idempotency-key-reused")
    other = served.client("operator").post(f"{API}/runs", json=body, headers=key)
    assert other.json()["id"] != first.json()["id"], "a key belongs to whoever gave it"


def test_a_run_is_moved_by_hand_and_explained(served, record):
    place = f"{API}/runs/{record.run.id}"
    started = served.post(f"{place}/start", headers={"If-Match": '"1"'})
    assert (started.status_code, started.json()["status"]) == (200, "PROCESSING")
    problem(served.post(f"{place}/start"), "invalid-state")
    problem(served.post(f"{place}/complete", headers={"If-Match": '"1"'}), "stale-version")
    bare = problem(served.post(f"{place}/complete", headers={"If-Match": "2"}), "stale-version")
    assert "If-Match: 2 is no ETag: give it in quotes" in bare["detail"]
    failed = served.post(f"{place}/fail", json={"reason": "no disk"})
    assert (failed.json()["status"], failed.json()["error_summary"]) == ("FAILED", "no disk")
    told = served.get(f"{place}/explain").json()
    assert [event["type"] for event in told["events"]] == ["run.started", "run.failed"]
    assert failed.json()["updated_by"] == "token:admin"
    again = served.post(f"{place}/reopen")
    assert (again.json()["status"], again.json()["attempt"]) == ("PROCESSING", 2)


def test_ending_a_run_ends_its_executions(served, record):
    batch = {"run_id": str(record.run.id), "batch_id": str(record.batch.id)}
    execution = served.post(f"{API}/batch-executions", json=batch).json()
    items = served.post(f"{API}/batches/{record.batch.id}/items", json={"payloads": [{"n": 1}, {"n": 2}]})
    assert items.json() == {"first_sequence_number": 0, "count": 2}
    item = served.get(f"{API}/batches/{record.batch.id}/items").json()["items"][0]
    made = served.post(
        f"{API}/item-executions",
        json={"batch_execution_id": execution["id"], "item_id": item["id"], "max_attempts": 2},
    ).json()
    place = f"{API}/item-executions/{made['id']}"
    for verb, body in (("start", None), ("fail", {"error_message": "boom"}), ("start", None)):
        answer = served.post(f"{place}/{verb}", json=body) if body else served.post(f"{place}/{verb}")
        assert answer.status_code == 200, answer.text
    served.post(f"{API}/runs/{record.run.id}/cancel", json={"reason": "enough"})
    assert served.get(place).json()["status"] == "CANCELLED"
    assert served.get(f"{API}/batch-executions/{execution['id']}").json()["status"] == "CANCELLED"
    history = [row["new_status"] for row in served.get(f"{place}/history").json()["items"]]
    assert history == ["PROCESSING", "RETRYING", "PROCESSING", "CANCELLED"]
    problem(served.post(f"{API}/batch-executions", json=batch), "invalid-state")


def test_an_instance_is_linked_and_unlinked(served, record):
    ids = {"run_id": str(record.run.id), "instance_id": str(record.instances[0].id)}
    link = served.post(f"{API}/links", json=ids)
    assert (link.status_code, link.json()["pinned"], link.json()["rule"]) == (201, True, None)
    again = served.post(f"{API}/links", json=ids)
    assert (again.status_code, again.json()) == (200, link.json())
    made = [row for row in served.get(f"{API}/audit").json()["items"] if row["action"] == "links.create"]
    assert len(made) == 1
    linked = served.get(f"{API}/instances", params={"run_id": ids["run_id"]}).json()["items"]
    assert [row["external_id"] for row in linked] == ["build-1"]
    unlinked = served.get(f"{API}/instances", params={"linked": "false"}).json()["items"]
    assert [row["external_id"] for row in unlinked] == ["build-2"]
    gone = served.delete(link.headers["location"])
    assert (gone.status_code, gone.content) == (204, b"")
    problem(served.get(link.headers["location"]), "not-found")
    problem(served.post(f"{API}/links", json={**ids, "run_id": str(new_id())}), "unknown-reference")


def test_pages_follow_each_other_without_gap_or_repetition(served, record):
    for number in range(7):
        served.post(f"{API}/runs", json={"automation_id": str(record.automation.id), "correlation_id": f"r{number}"})
    found, cursor = [], None
    for _ in range(4):
        page = served.get(f"{API}/runs", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        found += [row["correlation_id"] for row in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == [f"r{number}" for number in range(6, -1, -1)] + ["monday"]


@pytest.mark.parametrize(
    ("path", "params", "says"),
    [
        ("runs", {"limit": "0"}, "limit: 0 is less than 1"),
        ("runs", {"limit": "1.0"}, "limit: is not a whole number"),
        ("runs", {"stauts": "FAILED"}, "did you mean 'status'?"),
        ("runs", {"status": "failed"}, "is not one of"),
        ("runs", {"cursor": "x"}, "cursor: "),
        ("runs", {"automation": "a\x00b"}, "is not readable text"),
        ("runs", [("limit", "1"), ("limit", "2")], "is given more than once"),
        ("runs/7", {}, "id: "),
        ("instances", {"linked": "yes"}, "is not true or false"),
    ],
)
def test_what_the_specification_does_not_allow_is_named(served, path, params, says):
    assert says in " ".join(problem(served.get(f"{API}/{path}", params=params), "invalid-request")["errors"])


@pytest.mark.parametrize(
    ("body", "content_type", "name", "says"),
    [
        (b'{"name": ', "application/json", "invalid-request", "not JSON"),
        (b'{"name": NaN}', "application/json", "invalid-request", "not JSON"),
        (b'{"name": "a", "colour": 1}', "application/json", "invalid-request", "colour: unknown key"),
        (b'{"name": " "}', "application/json", "invalid-request", "name: "),
        (b'{"name": "a\xff"}', "application/json", "invalid-request", "not JSON"),
        (b"[" * 100_000, "application/json", "invalid-request", "nested too deep"),
        (b'{"name": "a"}', "text/plain", "unsupported-media-type", "application/json"),
        (b'{"name": "a", "batch_schema": {"type": "colour"}}', "application/json", "refused", "batch_schema"),
        (b'{"name": "a", "batch_schema": {"const": "\\u0000"}}', "application/json", "refused", "NUL"),
        (b'{"name": "a", "batch_schema": {"const": 1e999}}', "application/json", "refused", "too large"),
        (b'{"name": "a", "batch_schema": {"const": %s}}' % (b"9" * 30), "application/json", "refused", "64 bits"),
    ],
)
def test_a_body_that_is_wrong_changes_nothing(served, body, content_type, name, says):
    answer = served.post(f"{API}/automations", content=body, headers={"Content-Type": content_type})
    assert says in problem(answer, name)["detail"]
    assert served.get(f"{API}/automations").json()["items"] == []


def test_a_name_that_is_taken_is_a_conflict(served, record):
    answer = served.post(f"{API}/automations", json={"name": "nightly"})
    assert str(record.automation.id) in problem(answer, "already-exists")["detail"]


def test_each_write_leaves_an_entry_in_the_audit(served, record):
    served.client("operator").post(f"{API}/runs/{record.run.id}/start")
    served.client("operator").post(f"{API}/runs/{record.run.id}/start")  # refused: nothing happened
    entries = served.get(f"{API}/audit", params={"subject_id": str(record.run.id)}).json()["items"]
    assert [(one["actor"], one["action"], one["address"]) for one in entries] == [
        ("token:operator", "runs.start", "127.0.0.1")
    ]


def test_engines_tell_of_their_feeds_and_open_instances(served, record):
    row = served.get(f"{API}/engines", params={"name": "ci"}).json()["items"][0]
    assert (row["type"], row["open"], row["feeds"]) == ("acme", 2, [])
    assert served.get(f"{API}/engines/{record.engine.id}").json() == row


def test_search_finds_parts_of_names_in_any_case(served, record):
    def found(kind, text):
        return len(served.get(f"{API}/{kind}", params={"search": text}).json()["items"])

    assert found("runs", "MOND") == 1
    assert found("runs", "%") == 0
    assert found("instances", "ILD-2") == 1
    assert found("instances", "nightly/b") == 2
    assert found("instances", "nowhere") == 0


def test_events_are_listed_in_order(served, record):
    for verb in ("start", "complete"):
        served.post(f"{API}/runs/{record.run.id}/{verb}")
    page = served.get(f"{API}/events", params={"run_id": str(record.run.id), "limit": 1}).json()
    assert [event["type"] for event in page["items"]] == ["run.started"]
    rest = served.get(f"{API}/events", params={"cursor": page["next_cursor"]}).json()
    assert [event["type"] for event in rest["items"]] == ["run.completed"]
    assert rest["next_cursor"] is None


def test_what_is_not_there_is_a_problem_too(served):
    problem(served.get("/api/v2"), "not-found")
    problem(served.get(f"{API}/runs/{new_id()}"), "not-found")
    refused = served.delete(f"{API}/runs")
    problem(refused, "method-not-allowed")
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


def test_a_body_that_would_be_empty_may_be_left_out(served, record):
    run_id = served.post("/api/v1/runs", json={"automation_id": str(record.automation.id)}).json()["id"]
    assert served.post(f"/api/v1/runs/{run_id}/cancel").json()["status"] == "CANCELLED"
    answer = served.post("/api/v1/runs")
    assert problem(answer, "unsupported-media-type")["detail"] == "the body must be application/json"


def test_items_of_a_batch_are_paged_by_their_numbers_and_narrowed_by_status(served, record):
    def post(path, **body):
        answer = served.post(f"{API}{path}", json=body or None)
        assert answer.is_success, answer.text
        return answer.json()

    owner = str(record.automation.id)
    run_id = post("/runs", automation_id=owner, correlation_id="with items")["id"]
    batch_id = post("/batches", automation_id=owner, name="orders", payload={})["id"]
    post(f"/batches/{batch_id}/items", payloads=[{}, {}, {}, {}, {}])
    items = served.get(f"{API}/batches/{batch_id}/items").json()["items"]
    batch = post("/batch-executions", run_id=run_id, batch_id=batch_id)["id"]
    for item in reversed(items):
        made = post("/item-executions", batch_execution_id=batch, item_id=item["id"])["id"]
        if item["sequence_number"] % 2:
            post(f"/item-executions/{made}/start")
    place, found, cursor = f"{API}/batch-executions/{batch}/items", [], None
    while True:
        page = served.get(place, params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        found += [(row["sequence_number"], row["status"]) for row in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == [(n, "PROCESSING" if n % 2 else "PENDING") for n in range(5)]
    moving = served.get(place, params={"status": "PROCESSING"}).json()["items"]
    assert [row["sequence_number"] for row in moving] == [1, 3]
    nobody = served.get(f"{API}/batch-executions/{run_id}/items")
    assert "there is no batch execution" in problem(nobody, "not-found")["detail"]
