"""The main thing: a Run is linked, fails, is retried and completes while the page is open, and each change is seen."""

from __future__ import annotations

import re

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
