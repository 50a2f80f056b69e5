"""Every view, narrow and wide, light and dark: nothing that axe calls serious, and no page wider than its window."""

from __future__ import annotations

import pytest
from tests.acceptance.cli.conftest import until
from tests.browser.conftest import overflow, violations
from tests.browser.scene import NASTY, at

LONG = "a-name-without-any-space-that-is-far-too-long-for-a-narrow-window/" * 3


@pytest.fixture(scope="module")
def furnished(scene):
    """Something of everything to be seen; ids of Runs by what they are."""
    made = {
        name: scene.make_run(key)
        for name, key in {"waiting": "views-0", "failed": "views-1", "long": LONG, "nasty": NASTY}.items()
    }
    scene.build("views-1", building=False, result="SUCCESS", duration=500)
    steps = {"copy": "COMPLETED", "switch": "FAILED"}
    scene.deploy("v-1", "views-1", "FAILED", started=at(90), finished=at(2), message="the disk is full", steps=steps)
    scene.deploy("v-2", LONG, "PROCESSING", started=at(30), message=LONG, url="https://example.com/" + LONG)
    scene.deploy(
        "v-3", NASTY, "RETRYING", started=at(30), message=NASTY, url="javascript:window.hurt=1", steps={NASTY: "FAILED"}
    )
    scene.acme.add(
        "v-4", "deploy/other", "FAILED", started=at(50), finished=at(40), message=NASTY, metadata={"v": "views-0"}
    )
    scene.acme.add(NASTY, NASTY, "COMPLETED", started=at(50), finished=at(40))
    scene.acme.runs["bad"] = {"id": NASTY, "status": "COMPLETED"}
    scene.push(NASTY, **{"Idempotency-Key": "views"})
    until(
        lambda: all(scene.get(f"/runs/{made[one]}")["status"] != "PENDING" for one in ("failed", "long", "nasty")),
        "them",
    )
    return made


VIEWS = {
    "runs": ("/runs", "table.runs"),
    "failed": ("/runs/{failed}", "table.instances"),
    "waiting": ("/runs/{waiting}", ".nothing"),
    "long": ("/runs/{long}", "table.instances"),
    "engines": ("/engines", ".cards"),
    "inbox": ("/inbox", ".waiting-list"),
    "deliveries": ("/deliveries", "table.aside"),
    "nowhere": ("/runs?search=nothing-is-like-this", ".nothing"),
}


def test_the_checker_finds_what_is_wrong(scene, log_in):
    page = log_in("viewer", "/engines")
    page.locator(".cards").wait_for()
    page.evaluate("document.querySelector('main').append(document.createElement('img'))")
    assert [text for text in violations(page) if text.startswith("image-alt")]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_every_view_is_accessible_and_fits(furnished, scene, log_in, width, dark):
    page = log_in("operator", width=width, height=800, dark=dark)
    for name, (path, ready) in VIEWS.items():
        page.goto(scene.url + path.format(**furnished))
        page.locator(ready).first.wait_for()
        assert violations(page) == [], name
        assert overflow(page) == 0, name
        assert page.evaluate("window.hurt") is None


@pytest.mark.parametrize("width", [360, 1440])
def test_the_login_is_accessible_and_fits(scene, new_page, width):
    page = new_page(width=width, height=800)
    page.goto(f"{scene.url}/login")
    assert violations(page) == []
    assert overflow(page) == 0


def test_dialogs_are_accessible(furnished, scene, log_in):
    page = log_in("operator", f"/runs/{furnished['long']}")
    for button in ("Link an instance …", "Fail"):
        page.get_by_role("button", name=button, exact=True).click()
        page.get_by_role("dialog").wait_for()
        assert violations(page) == [], button
        page.get_by_role("button", name="Leave it").click()


def test_what_an_engine_tells_is_text_and_does_nothing(furnished, scene, log_in):
    page = log_in("operator", f"/runs/{furnished['nasty']}")
    page.locator("table.instances").wait_for()
    assert page.locator("h1").inner_text() == NASTY
    assert page.get_by_text("v-3").first.evaluate("node => node.closest('a')") is None, "javascript: is no link"
    for path, ready in (("/runs", "table.runs"), ("/inbox", ".waiting-list"), ("/deliveries", "table.aside")):
        page.goto(scene.url + path)
        page.locator(ready).first.wait_for()
        page.get_by_text("<img src=x onerror=").first.wait_for(state="attached")
    assert page.evaluate("window.hurt") is None
    assert page.locator("main img").count() == 0


def test_nothing_is_loaded_from_elsewhere_and_no_script_or_style_is_inline(furnished, scene, new_page):
    page, asked = new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{scene.url}/login")
    page.get_by_label("Token").fill(scene.tokens["operator"])
    page.get_by_role("button", name="Log in").click()
    for path, ready in VIEWS.values():
        page.goto(scene.url + path.format(**furnished))
        page.locator(ready).first.wait_for()
    assert asked
    assert [url for url in asked if not url.startswith(scene.url)] == []


def test_times_are_told_with_their_absolute_form(furnished, scene, log_in):
    page = log_in("viewer")
    time = page.locator("table.runs time").first
    time.wait_for()
    assert "ago" in time.inner_text() or time.inner_text() == "now"
    assert page.evaluate("node => Number.isFinite(Date.parse(node.dateTime))", time.element_handle())
    assert "UTC" in time.get_attribute("title")
