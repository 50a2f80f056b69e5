"""Who may do what: login and logout, a viewer without buttons that write, an operator who moves Runs and links."""

from __future__ import annotations

import pytest
from tests.acceptance.cli.conftest import until
from tests.browser.scene import Scene, at


def _expect(what):
    from playwright.sync_api import expect

    return expect(what)


@pytest.fixture(scope="module")
def waiting(scene):
    """A Run without an instance and an instance that belongs to it."""
    made = {}
    for key in ("inbox-1", "inbox-2"):
        made[key] = scene.make_run(key)
        scene.acme.add(
            f"of-{key}", "deploy/by-hand", "COMPLETED", started=at(9), finished=at(5), metadata={"version": key}
        )
    until(lambda: len(scene.get("/instances", workflow="deploy/by-hand")["items"]) == 2, "them")
    return made


def links(scene, key):
    (run,) = scene.get("/runs", correlation_id=key)["items"]
    return [row["external_id"] for row in scene.get(f"/runs/{run['id']}/explain")["instances"]]


def test_without_a_session_the_page_leads_to_the_login_and_back(scene, new_page):
    page = new_page()
    page.goto(f"{scene.url}/inbox")
    page.wait_for_url("**/login?next=%2Finbox")
    page.get_by_label("Token").fill("rl_wrong")
    page.keyboard.press("Enter")
    _expect(page.get_by_role("alert")).to_contain_text("not known")
    page.get_by_label("Token").fill(scene.tokens["viewer"])
    page.keyboard.press("Enter")
    page.wait_for_url("**/inbox")
    _expect(page.locator("#who")).to_contain_text("viewer")


def test_logging_out_ends_the_session(scene, log_in):
    page = log_in("operator")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.goto(f"{scene.url}/runs")
    page.wait_for_url("**/login?next=%2Fruns")


def test_a_session_that_ends_meanwhile_leads_to_the_login(scene, log_in):
    scene.tokens["brief"] = scene.run("tokens", "create", "brief", "--role", "viewer").strip()
    page = log_in("brief", "/engines")
    page.locator(".cards").wait_for()
    scene.run("tokens", "revoke", "brief")
    page.wait_for_url("**/login?next=%2Fengines")


def test_a_viewer_sees_no_button_that_writes(scene, waiting, log_in):
    page = log_in("viewer", "/inbox")
    page.locator(".waiting-list").first.wait_for()
    _expect(page.locator("main").get_by_role("button")).to_have_count(0)
    page.goto(f"{scene.url}/runs/{waiting['inbox-1']}")
    page.locator("table.timeline").wait_for()
    _expect(page.locator("main").get_by_role("button")).to_have_count(0)


def test_an_instance_is_linked_from_the_inbox_by_keyboard_alone_and_that_is_undone(scene, waiting, log_in):
    page = log_in("operator", "/inbox")
    page.get_by_role("button", name="Link of-inbox-1 to inbox-1", exact=True).wait_for()
    page.locator("body").press("Tab")
    for _ in range(80):
        if page.evaluate("document.activeElement.getAttribute('aria-label')") == "Link of-inbox-1 to inbox-1":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    undo = page.get_by_role("button", name="Undo")
    _expect(undo).to_be_focused()
    _expect(page.locator(".waits.done")).to_contain_text("Linked to inbox-1")
    assert links(scene, "inbox-1") == ["of-inbox-1"]
    _expect(page.locator("#told")).to_contain_text("Linked to inbox-1")
    page.keyboard.press("Enter")
    _expect(undo).to_have_count(0)
    assert links(scene, "inbox-1") == []
    _expect(page.get_by_role("button", name="Link of-inbox-1 to inbox-1", exact=True).first).to_be_focused()


def test_a_run_is_linked_to_an_instance_that_is_searched_for(scene, waiting, log_in):
    page = log_in("operator", f"/runs/{waiting['inbox-2']}")
    page.get_by_role("button", name="Link an instance …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Search").fill("of-inbox-2")
    dialog.get_by_role("radio", name="of-inbox-2").check()
    dialog.get_by_role("button", name="Link it").click()
    row = page.locator("table.instances").get_by_role("row").filter(has_text="of-inbox-2")
    _expect(row).to_contain_text("by hand")
    row.get_by_role("button", name="Unlink").click()
    page.get_by_role("dialog").get_by_role("button", name="Take it off").click()
    _expect(page.locator("table.instances")).to_have_count(0)
    assert links(scene, "inbox-2") == []


def test_an_operator_moves_a_run(scene, log_in):
    run_id = scene.make_run("by-hand")
    page = log_in("operator", f"/runs/{run_id}")
    title = page.locator(".run-head .title")

    def move(name, then, reason=None):
        page.get_by_role("group", name="What may be done").get_by_role("button", name=name).click()
        dialog = page.get_by_role("dialog")
        if reason:
            dialog.get_by_label("Reason").fill(reason)
        dialog.get_by_role("button", name=f"{name} it").click()
        _expect(title).to_contain_text(then)

    move("Start", "Processing")
    move("Fail", "Failed", reason="because it rains")
    _expect(page.locator(".reason")).to_have_text("because it rains")
    move("Reopen", "Processing")
    move("Complete", "Completed")
    move("Reopen", "Processing")
    move("Cancel", "Cancelled", reason="enough")
    _expect(page.locator("table.why tbody tr").first).to_contain_text("token:operator decided")
    page.get_by_role("group", name="What may be done").get_by_role("button", name="Reopen").click()
    page.keyboard.press("Escape")
    _expect(page.get_by_role("dialog")).to_have_count(0)
    _expect(title).to_contain_text("Cancelled")


def test_a_run_that_somebody_else_changed_meanwhile_is_not_changed(scene, log_in):
    run_id = scene.make_run("twice")
    page = log_in("operator", f"/runs/{run_id}")
    page.route("**/api/v1/stream", lambda route: route.abort())
    page.reload()
    page.get_by_role("button", name="Cancel").click()
    scene.post(f"/runs/{run_id}/start")
    page.get_by_role("button", name="Cancel it").click()
    _expect(page.locator(".note")).to_contain_text("is at version")
    _expect(page.locator(".run-head .title")).to_contain_text("Processing")


def test_a_delivery_that_was_given_up_is_looked_into_and_taken_in_again(scene, log_in):
    scene.push("no form that Jenkins sends", **{"Idempotency-Key": "odd-1"})
    until(lambda: scene.get("/deliveries", state="dead")["items"], "its end")
    page = log_in("operator", "/deliveries")
    row = page.locator("table.pushed").get_by_role("row").filter(has_text="odd-1")
    _expect(row).to_contain_text("given up")
    row.get_by_text("26 bytes").click()
    _expect(row.locator("pre")).to_contain_text("no form that Jenkins sends")
    row.get_by_role("button", name="Take in again odd-1").click()
    _expect(page.locator(".note")).to_contain_text("taken in again")
    page.get_by_label("State").select_option("dead")
    page.wait_for_url("**/deliveries?state=dead")
    _expect(page.locator("table.pushed").get_by_role("row").filter(has_text="odd-1")).to_contain_text("given up")


def test_on_this_machine_reading_is_free_and_writing_is_not_offered(tmp_path, new_page):
    scene = Scene(tmp_path, auth="local")
    try:
        scene.serve()
        scene.make_run("free-1")
        page = new_page()
        page.goto(scene.url)
        page.get_by_role("link", name="free-1").click()
        page.locator("table.timeline").wait_for()
        _expect(page.locator("main").get_by_role("button")).to_have_count(0)
        _expect(page.locator("#who")).to_contain_text("reading only")
        page.go_back()
        _expect(page.get_by_role("link", name="free-1")).to_be_visible()
    finally:
        scene.close()
