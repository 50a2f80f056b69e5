"""The listing: search, filters and pages, all of which stand in the address."""

from __future__ import annotations

import re

import pytest


def _expect(what):
    from playwright.sync_api import expect

    return expect(what)


@pytest.fixture(scope="module")
def many(scene):
    """Sixty Runs that wait, of which one is cancelled."""
    ids = [scene.make_run(f"many-{number:02}") for number in range(60)]
    scene.post(f"/runs/{ids[7]}/cancel", reason="nobody needs it")
    return ids


def keys(page):
    return page.locator("table.runs .key").all_inner_texts()


def test_a_search_narrows_while_it_is_typed_and_the_focus_stays(many, log_in):
    page = log_in("viewer")
    page.locator("table.runs").wait_for()
    page.keyboard.press("/")
    search = page.get_by_label("Search")
    _expect(search).to_be_focused()
    page.keyboard.type("many-4")
    _expect(page.locator("table.runs .key")).to_have_count(10)
    _expect(search).to_be_focused()
    page.keyboard.type("2")
    _expect(page.locator("table.runs .key")).to_have_text(["many-42"])
    assert page.url.endswith("/runs?search=many-42")
    page.reload()
    _expect(page.locator("table.runs .key")).to_have_text(["many-42"])
    _expect(search).to_have_value("many-42")


def test_filters_stand_in_the_address_and_go_back(many, scene, log_in):
    page = log_in("viewer", "/runs?search=many-")
    page.get_by_label("Status").select_option("CANCELLED")
    _expect(page.locator("table.runs .key")).to_have_text(["many-07"])
    _expect(page.locator("table.runs .c-message").last).to_have_text("nobody needs it")
    assert "status=CANCELLED" in page.url
    page.get_by_label("Automation").select_option("release")
    page.wait_for_url(re.compile("automation=release"))
    _expect(page.locator("table.runs .key")).to_have_text(["many-07"])
    page.go_back()
    page.go_back()
    _expect(page.locator("table.runs .key")).to_have_count(50)
    _expect(page.get_by_label("Status")).to_have_value("")


def test_pages_lead_on_and_back(many, log_in):
    page = log_in("viewer", "/runs?search=many-")
    _expect(page.locator("table.runs .key").first).to_have_text("many-59")
    page.get_by_role("link", name="Older").click()
    _expect(page.locator("table.runs .key").first).to_have_text("many-09")
    assert keys(page) == [f"many-{number:02}" for number in range(9, -1, -1)]
    _expect(page.get_by_role("link", name="Older")).to_have_count(0)
    page.get_by_role("link", name="Newer").click()
    _expect(page.locator("table.runs .key").first).to_have_text("many-59")
    _expect(page).to_have_url(re.compile(r"search=many-$"))
