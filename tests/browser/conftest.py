"""Debian's Chromium, driven by Playwright, and the scene it looks at. `make test-browser` comes here."""

from __future__ import annotations

import os
import re
import shutil

import pytest
from tests.acceptance.cli.conftest import until
from tests.browser.scene import Scene

WAIT_MS = 30_000
SERIOUS = ("serious", "critical")


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/browser/" in item.nodeid:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium():
    from playwright.sync_api import expect, sync_playwright

    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert found, "there is no chromium; `make test-browser` installs it, or name one with CHROMIUM=..."
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]  # which root cannot have
        browser = playwright.chromium.launch(executable_path=found, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    """One server for all tests that do not stop it: each brings Runs of its own."""
    scene = Scene(tmp_path_factory.mktemp("scene"))
    try:
        scene.serve()
        until(scene.is_synced, "the first sync")
        yield scene
    finally:
        scene.close()


@pytest.fixture
def own_scene(tmp_path):
    """A server that a test may stop."""
    scene = Scene(tmp_path)
    try:
        scene.serve()
        until(scene.is_synced, "the first sync")
        yield scene
    finally:
        scene.close()


@pytest.fixture
def new_page(chromium):
    """Makes pages, each of a browser of its own; at the end none may have complained."""
    contexts, complaints = [], []

    def make(*, width=1440, height=900, dark=False):
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        return page

    yield make
    for context in contexts:
        context.close()
    # a request that is refused or finds nobody is told by the browser itself
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []


@pytest.fixture
def log_in(scene, new_page):
    """A page that is logged in to the scene, or to another."""

    def log_in(role="operator", at="/runs", *, of=None, **options):
        where = of or scene
        page = new_page(**options)
        page.goto(f"{where.url}/login?next={at}")
        page.get_by_label("Token").fill(where.tokens[role])
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(re.compile(re.escape(where.url + at)))
        return page

    return log_in


def violations(page):
    """What axe finds, as far as it is serious."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


def overflow(page):
    """Pixels by which the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
