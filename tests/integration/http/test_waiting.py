"""What waits for somebody, over the REST API: deliveries, the inbox, what was set aside, and a Run as it was."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote

from tests.integration.http.conftest import problem

from runlink.application.rows import Quarantined
from runlink.domain import OrchestrationInstance, Run, new_id

API = "/api/v1"


def test_deliveries_are_listed_newest_first_and_shown_with_their_body(served, deliveries):
    listed = served.get(f"{API}/deliveries").json()["items"]
    assert [row["id"] for row in listed] == [str(row.id) for row in reversed(deliveries)]
    assert [row["state"] for row in listed] == ["waiting", "dead", "done"]
    assert [row["reason"] for row in listed] == [None, "it is no JSON", None]
    (dead,) = served.get(f"{API}/deliveries", params={"state": "dead", "engine": "ci"}).json()["items"]
    assert served.get(f"{API}/deliveries", params={"engine": "other"}).json()["items"] == []
    shown = served.get(f"{API}/deliveries/{dead['id']}").json()
    assert shown == {**dead, "headers": [["x-event", "build"]], "body": "\\xff{"}
    first = served.get(f"{API}/deliveries", params={"limit": 2}).json()
    second = served.get(f"{API}/deliveries", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [row["id"] for row in first["items"] + second["items"]] == [row["id"] for row in listed]
    assert second["next_cursor"] is None
    problem(served.get(f"{API}/deliveries", params={"state": "lost"}), "invalid-request")
    problem(served.get(f"{API}/deliveries/{new_id()}"), "not-found")


def test_a_replayed_delivery_waits_anew_and_the_audit_tells_who_did_it(served, deliveries):
    dead = deliveries[1].id
    place = f"{API}/deliveries/{dead}/replay"
    problem(served.client("viewer").post(place), "forbidden")
    problem(served.client().post(place), "unauthenticated")
    assert served.get(f"{API}/deliveries/{dead}").json()["state"] == "dead"
    answer = served.client("operator").post(place)
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["attempts"]) == ("waiting", 0)
    problem(served.post(f"{API}/deliveries/{new_id()}/replay"), "not-found")
    (entry,) = served.get(f"{API}/audit", params={"action": "deliveries.replay"}).json()["items"]
    assert (entry["actor"], entry["action"], entry["subject_id"]) == ("token:operator", "deliveries.replay", str(dead))
    assert entry["details"] == {"engine": "ci", "state": "dead", "attempts": 1}


def test_the_inbox_suggests_and_links_makes_the_link(served, store, record):
    build = OrchestrationInstance(
        engine_id=record.engine.id, external_id="build-3", workflow="nightly/build",
        started_at=record.run.created_at,
        parameters={"ORDER": "monday"},
    )  # fmt: skip
    store.write(lambda uow: uow.orchestration_instances.add(build), actor="test")
    listed = served.client("viewer").get(f"{API}/inbox/instances").json()["items"]
    assert [row["external_id"] for row in listed] == ["build-3", "build-2", "build-1"]
    (suggested,) = listed[0]["suggestions"]
    assert (suggested["run_id"], suggested["correlation_id"]) == (str(record.run.id), "monday")
    assert suggested["score"] > 50
    assert any("ORDER" in reason for reason in suggested["reasons"])
    (run,) = served.get(f"{API}/inbox/runs", params={"automation": "nightly"}).json()["items"]
    assert run["suggestions"][0]["instance_id"] == str(build.id)
    made = served.post(f"{API}/links", json={"run_id": suggested["run_id"], "instance_id": listed[0]["id"]})
    assert made.status_code == 201
    assert served.get(f"{API}/inbox/runs").json()["items"] == []
    assert len(served.get(f"{API}/inbox/instances").json()["items"]) == 2


def test_the_inbox_is_paged_and_filtered(served, store, record, t0):
    runs = [Run(automation_id=record.automation.id, correlation_id=f"run {n}") for n in range(4)]
    with store.unit_of_work("test") as uow:
        for run in runs:
            uow.runs.add(run)
    for kind, count in (("runs", 5), ("instances", 2)):
        found, cursor = [], None
        while True:
            page = served.get(f"{API}/inbox/{kind}", params={"limit": 1, **({"cursor": cursor} if cursor else {})})
            found += [row["id"] for row in page.json()["items"]]
            cursor = page.json()["next_cursor"]
            if cursor is None:
                break
        assert len(found) == count
        assert found == sorted(found, reverse=True)
    assert served.get(f"{API}/inbox/instances", params={"engine": "none"}).json()["items"] == []
    later = (t0 + timedelta(days=3650)).isoformat()
    assert served.get(f"{API}/inbox/runs", params={"since": later}).json()["items"] == []
    for bad in ("yesterday", "2026-01-05", "2026-01-05T10:00:00", "2026-02-30T10:00:00Z", later.replace("+", " ")):
        problem(served.get(f"{API}/inbox/runs?since={quote(bad)}"), "invalid-request")


def test_what_was_set_aside_is_listed_latest_first_without_loss_between_pages(served, store, record, t0):
    def aside(names, at):
        rows = [Quarantined(f"{name:032x}", f"build-{name}", "no status", "{}") for name in names]
        store.write(lambda uow: uow.ledger.quarantine(record.engine.id, "poll", rows, at), actor="test")

    aside([1 << 70, 2, 3 << 90], t0)
    aside([4, 5 << 80], t0 + timedelta(seconds=1))
    aside([2], t0 + timedelta(seconds=2))
    found, cursor = [], None
    for _ in range(5):
        page = served.get(f"{API}/quarantine", params={"limit": 1, **({"cursor": cursor} if cursor else {})}).json()
        found += page["items"]
        cursor = page["next_cursor"]
    assert cursor is None
    assert [row["count"] for row in found] == [2, 1, 1, 1, 1]
    assert [row["last_seen_at"] for row in found] == sorted((row["last_seen_at"] for row in found), reverse=True)
    assert len({row["fingerprint"] for row in found}) == 5
    assert found == served.get(f"{API}/quarantine", params={"engine": "ci"}).json()["items"]
    assert served.get(f"{API}/quarantine", params={"engine": "other"}).json()["items"] == []


def test_a_run_is_explained_as_it_was_known_then(served, clock):
    automation = served.post(f"{API}/automations", json={"name": "nightly"}).json()
    clock.now = made_at = max(clock.now, served.service.now())
    run = served.post(f"{API}/runs", json={"automation_id": automation["id"]}).json()
    place = f"{API}/runs/{run['id']}"
    clock.now = made_at + timedelta(hours=1)
    served.post(f"{place}/start")
    clock.now = made_at + timedelta(hours=2)
    served.post(f"{place}/complete")
    then = {"as_of": (made_at + timedelta(minutes=90)).isoformat()}
    assert served.get(f"{place}/explain").json()["status"] == "COMPLETED"
    told = served.get(f"{place}/explain", params=then).json()
    assert (told["status"], told["as_of"] is not None) == ("PROCESSING", True)
    before = {"as_of": (made_at - timedelta(days=10_000)).isoformat()}
    problem(served.get(f"{place}/explain", params=before), "not-found")
    problem(served.get(f"{place}/explain", params={"as_of": (clock.now + timedelta(1)).isoformat()}), "refused")
    problem(served.get(f"{place}/explain", params={"as_of": "once"}), "invalid-request")
