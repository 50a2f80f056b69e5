"""What the dashboard asks, at 100,000 Runs and 400,000 linked instances, in milliseconds on the clock over HTTP; and,
where Playwright and a Chromium are there (`.envs/browser`), how long a page takes until its rows are drawn.

Product: a GET of the running server, with the engines each Run passed. Baseline: the same server answering a problem,
so that what is added is seen: identity, the query, the trail's query, and JSON.
"""

from __future__ import annotations

import importlib.util
import shutil
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from benchmarks.databases import sqlite
from benchmarks.measure import Figure, progress
from runlink.application.settings import ServerSettings
from runlink.domain import Automation, Engine, ExecutionStatus, OrchestrationInstance, Run, RunOrchestration
from runlink.http import HttpServer, Service, create_app
from runlink.store import SqlStore, mapping, open_store, tables
from runlink.store.bulk import Bulk

RUNS, PER_RUN, PART = 100_000, 4, 20_000
ROUNDS = 15
NOW = datetime(2026, 1, 1, tzinfo=UTC)
STATUSES = (*[ExecutionStatus.COMPLETED] * 90, *[ExecutionStatus.FAILED] * 9, ExecutionStatus.PROCESSING)
ASKED = {
    "runs": "/runs?limit=50",
    "runs_failed": "/runs?limit=50&status=FAILED",
    "runs_of_an_automation": "/runs?limit=50&automation=a3",
    "runs_failed_of_an_automation": "/runs?limit=50&status=FAILED&automation=a3",
    "runs_searched": "/runs?limit=50&search=key-99999",
    "inbox_instances": "/inbox/instances?limit=25",
    "inbox_runs": "/inbox/runs?limit=25",
    "engines": "/engines?limit=200",
}


def _prepare(store: SqlStore) -> None:
    automations = [Automation(name=f"a{number}") for number in range(20)]
    engines = [Engine(name=f"e{number}", type="x", url=f"http://e{number}.example.org") for number in range(10)]
    with store.unit_of_work() as uow:
        for automation in automations:
            uow.automations.add(automation)
        for engine in engines:
            uow.engines.add(engine)
    for first in range(0, RUNS, PART):
        runs, instances, links = [], [], []
        for n in range(first, first + PART):
            at, status = NOW + timedelta(seconds=n), STATUSES[n % 100]
            times = {"started_at": at, "finished_at": at + timedelta(seconds=60) if status.is_ended else None}
            told = {"status": status, "created_at": at, **times}
            run = Run(automation_id=automations[n % 20].id, correlation_id=f"key-{n}", **told)
            runs.append(run)
            for part in range(PER_RUN if n % 1000 else 0):  # one in a thousand waits for what is not linked
                one = OrchestrationInstance(
                    engine_id=engines[(n + part) % 10].id,
                    external_id=f"b-{n}-{part}",
                    workflow=f"job-{n % 500}",
                    **told,
                )
                instances.append(one)
                links.append(RunOrchestration(run_id=run.id, orchestration_instance_id=one.id, attached_at=at))
            if not n % 1000:
                instances.append(
                    OrchestrationInstance(
                        engine_id=engines[n % 10].id,
                        external_id=f"lost-{n}",
                        workflow="job",
                        parameters={"key": f"key-{n}", "branch": "main", "commit": f"{n:040x}"},
                        **told,
                    )
                )
        with store.unit_of_work() as uow:
            bulk = Bulk(uow.connection)
            for kind, table, rows in (
                (mapping.RUN, tables.runs, runs),
                (mapping.INSTANCE, tables.orchestration_instances, instances),
                (mapping.LINK, tables.run_orchestrations, links),
            ):
                bulk.insert(table, kind.columns, [kind.to_row(row) for row in rows])


def run() -> Iterator[Figure]:
    """A figure for each thing that is asked, then for each page that is drawn."""
    progress(f"filling in {RUNS} runs and {RUNS * PER_RUN} instances")
    with sqlite(_prepare) as database:
        store = open_store(database.fresh())
        settings = ServerSettings(listen="127.0.0.1:0", requests_per_minute=1_000_000)
        server = HttpServer(settings)
        now = NOW + timedelta(seconds=RUNS)
        server.start(create_app(Service(store=store, settings=settings, now=lambda: now), on_hub=server.on_hub))
        url = server.url.rstrip("/")
        with httpx.Client(base_url=f"{url}/api/v1", trust_env=False, timeout=60) as client:
            for name, path in ASKED.items():
                yield _asked(client, name, path)
        yield from _drawn(url)
        server.stop()
        server.join(10)
        store.close()


def _asked(client: httpx.Client, name: str, path: str) -> Figure:
    ours, theirs, size = [], [], 0
    for _ in range(ROUNDS):
        began = time.perf_counter()
        answer = client.get(path).raise_for_status()
        ours.append((time.perf_counter() - began) * 1000)
        size = len(answer.content)
        began = time.perf_counter()
        client.get("/nothing-is-here")
        theirs.append((time.perf_counter() - began) * 1000)
    rows = len(answer.json()["items"])
    more = {"best": min(ours), "worst": max(ours), "rows": rows, "bytes": size}
    return Figure(f"dashboard_{name}", statistics.median(ours), "ms", statistics.median(theirs), more=more)


def _drawn(url: str) -> Iterator[Figure]:
    chromium = shutil.which("chromium")
    if chromium is None or importlib.util.find_spec("playwright") is None:
        progress(
            "no Playwright or no Chromium here: nothing is drawn (.envs/browser/bin/python -m benchmarks dashboard)"
        )
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page: Any = browser.new_page(viewport={"width": 1440, "height": 900})
        for name, path in (("runs", "/runs"), ("runs_searched", "/runs?search=key-99999"), ("engines", "/engines")):
            took = []
            for _ in range(ROUNDS // 3):
                began = time.perf_counter()
                page.goto(url + path)
                page.locator("table.runs tbody tr, .card").first.wait_for()
                took.append((time.perf_counter() - began) * 1000)
            rows = page.locator("table.runs tbody tr, .card").count()
            more = {"best": min(took), "worst": max(took), "rows": rows}
            yield Figure(f"dashboard_drawn_{name}", statistics.median(took), "ms from address to rows", more=more)
        page.goto(f"{url}/runs")
        page.locator("table.runs tbody tr").first.wait_for()
        again = page.evaluate(_AGAIN)
        more = {"best": min(again), "worst": max(again)}
        yield Figure("dashboard_redrawn_runs", statistics.median(again), "ms to bring 50 rows up to date", more=more)
        browser.close()


_AGAIN = """async () => {
  const { el, show } = await import("/static/dashboard/dom.js");
  const body = document.querySelector("table.runs").parentElement;
  const took = [];
  for (let n = 0; n < 20; n++) {
    const fresh = [...body.childNodes].map((node) => node.cloneNode(true));
    const began = performance.now();
    show(body, fresh);
    took.push(performance.now() - began);
  }
  return took;
}"""
