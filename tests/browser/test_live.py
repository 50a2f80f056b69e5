"""The main thing: a Run is linked, fails, is retried and completes while the page is open, and each change is seen."""

from __future__ import annotations

import re

from tests.browser.conftest import violations
from tests.browser.scene import at


def _expect(what):
    from playwright.sync_api import expect

    return expect(what)


def test_a_run_is_linked_fails_is_retried_and_completes_while_its_page_is_open(scene, log_in):
    run_id = scene.make_run("live-1")
    listing, page = log_in("viewer"), log_in("viewer", f"/runs/{run_id}")
    row = listing.get_by_role("row").filter(has_text="live-1")
    title, instances = page.locator(".title"), page.locator("table.instances")
    _expect(title).to_contain_text("Pending")
    _expect(row).to_contain_text("none yet")
    page.evaluate("window.stays = true")  # nothing below loads the page again
    listing.evaluate("window.stays = true")

    build = scene.build("live-1")
    _expect(title).to_contain_text("Processing")
    _expect(instances.get_by_role("row").filter(has_text="release/build")).to_contain_text(
        "release by its id matched live-1"
    )
    _expect(row).to_contain_text("Processing")
    _expect(row.locator(".trail")).to_contain_text("jenkins")

    build.set(building=False, result="SUCCESS", duration=1000)
    _expect(instances.get_by_role("row").filter(has_text="release/build")).to_contain_text("Completed")
    _expect(page.locator(".waiting")).to_contain_text("deploy/prod")
    _expect(title).to_contain_text("Processing")

    scene.deploy("live-d", "live-1", "FAILED", started=at(20), finished=at(2), message="the disk is full",
                 url="https://deploys.example.com/1", steps={"copy": "COMPLETED", "switch": "FAILED"})  # fmt: skip
    _expect(title).to_contain_text("Failed")
    _expect(page.locator(".reason")).to_contain_text("the disk is full")
    _expect(row).to_contain_text("Failed")
    _expect(row.locator(".trail li")).to_have_count(2)
    _expect(page.locator("table.timeline")).to_contain_text("switch")
    _expect(page.locator("table.why").get_by_role("row").nth(1)).to_contain_text("said failed")
    link = page.get_by_role("link", name=re.compile("^live-d"))
    assert link.get_attribute("href") == "https://deploys.example.com/1"
    assert "noopener" in link.get_attribute("rel")

    scene.deploy("live-d", "live-1", "PROCESSING", started=at(1), attempt=2)
    _expect(title).to_contain_text("Processing")
    _expect(page.locator("dl.facts")).to_contain_text(re.compile(r"Attempt\s*2"))
    _expect(row).to_contain_text("attempt 2")

    scene.deploy("live-d", "live-1", "COMPLETED", started=at(1), finished=at(0), attempt=2)
    _expect(title).to_contain_text("Completed")
    _expect(page.locator("table.timeline")).to_contain_text("attempt 1")
    _expect(row).to_contain_text("Completed")
    statuses = page.locator("table.why tbody .status .word").all_inner_texts()
    assert statuses == ["Completed", "Processing", "Failed", "Processing"]
    assert page.evaluate("window.stays")
    assert listing.evaluate("window.stays")
    _expect(listing.locator("#told")).to_contain_text("live-1: completed")


def test_a_new_run_appears_and_the_focus_stays(scene, log_in):
    scene.make_run("focus-1")
    page = log_in("viewer")
    link = page.get_by_role("link", name="focus-1")
    link.focus()
    scene.make_run("focus-2")
    _expect(page.get_by_role("link", name="focus-2")).to_be_visible()
    _expect(link).to_be_focused()


def test_disconnected_it_says_so_and_goes_on_where_it_was(own_scene, log_in):
    run_id = own_scene.make_run("break-1")
    page = log_in("viewer", f"/runs/{run_id}", of=own_scene)
    live, title = page.locator("#live"), page.locator(".title")
    _expect(live).to_have_text("Live")
    own_scene.stop()
    _expect(live).to_contain_text("Disconnected since")
    own_scene.run("runs", "cancel", run_id, "--reason", "nobody saw it")
    _expect(title).to_contain_text("Pending")
    own_scene.serve()
    _expect(live).to_have_text("Live")
    _expect(title).to_contain_text("Cancelled")
    _expect(page.locator(".reason")).to_have_text("nobody saw it")
    _expect(page.locator("#trouble")).to_be_empty()


LIVE_MS = 20_000
"""Less than the 30 s after which a view looks by itself: what is seen by then came by the stream."""


def test_an_engine_that_is_lost_and_found_is_seen_and_its_last_error_stays(own_scene, log_in):
    page = log_in("viewer", "/engines", of=own_scene)
    card = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="deploys"))
    _expect(card.locator(".state")).to_have_text("connected")
    _expect(card.locator("dl.facts")).to_contain_text(
        re.compile(r"Connected since.*ago.*Lag.*Last error\s*none seen", re.S)
    )
    _expect(card.locator("dl.facts")).to_contain_text(re.compile(r"Requests left\s*\d+ now"))
    own_scene.acme.mode = "down"
    _expect(card.locator(".state")).to_have_text("cannot be reached", timeout=LIVE_MS)
    _expect(card.locator(".failure")).to_contain_text("answered 503")
    own_scene.acme.mode = "ok"
    _expect(card.locator(".state")).to_have_text("connected", timeout=60_000)  # it waits between its tries
    _expect(card.locator(".failure")).to_have_count(0)
    _expect(card.locator("dl.facts")).to_contain_text(re.compile(r"Last error.*over now.*answered 503", re.S))


def test_a_delivery_appears_as_it_arrives_and_what_becomes_of_it(scene, log_in):
    page = log_in("viewer", "/deliveries")
    page.get_by_role("heading", name="Set aside").wait_for()
    scene.push("not a form at all", **{"Idempotency-Key": "live-delivery"})
    row = page.locator("table.pushed").get_by_role("row").filter(has_text="live-delivery")
    _expect(row).to_contain_text("given up", timeout=LIVE_MS)


def test_items_are_seen_page_by_page_with_their_attempts_errors_and_history(scene, log_in):
    run_id = scene.make_run("items-1")
    scene.post(f"/runs/{run_id}/start")
    ids = scene.make_items(run_id, "orders ✓", 60)
    for one, move in ((ids[3], "fail"), (ids[0], "complete")):
        scene.post(f"/item-executions/{one}/start")
        scene.post(f"/item-executions/{one}/{move}", **({"error_message": "no stock"} if move == "fail" else {}))
    page = log_in("viewer", f"/runs/{run_id}")
    batch = page.locator(".batch").filter(has_text="orders ✓")
    _expect(batch).to_contain_text("1 failed")
    batch.get_by_role("button", name="60 items").click()
    rows = batch.locator("table.items tbody tr")
    _expect(rows).to_have_count(50)
    _expect(rows.nth(3)).to_contain_text("no stock")
    batch.get_by_role("button", name="Show more items").click()
    _expect(rows).to_have_count(60)
    assert rows.locator(".c-number").all_inner_texts() == [str(number) for number in range(60)]
    rows.nth(3).get_by_text("Details").click()
    _expect(rows.nth(3).locator(".changes li .word")).to_have_text(["Processing", "Failed"])
    _expect(rows.nth(3).locator(".changes")).to_contain_text("by token:operator")
    _expect(rows.nth(3).locator(".json")).to_have_text("Payload3")
    assert violations(page) == []
    scene.post(f"/item-executions/{ids[5]}/start")
    _expect(rows.nth(5)).to_contain_text("Processing", timeout=LIVE_MS)
    batch.get_by_label("Status").select_option("FAILED")
    _expect(rows).to_have_count(1)
    _expect(rows.first).to_contain_text("no stock")
    batch.get_by_label("Status").select_option("CANCELLED")
    _expect(batch.locator(".nothing")).to_contain_text("No item is like that")
