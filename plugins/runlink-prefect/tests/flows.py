"""The flows that a real Prefect runs for `test_live.py`, served by one runner in a process of its own.

Run with Prefect's own environment, never imported by the tests. Each run is a subprocess that loads this file.
"""

import time

from prefect import flow, serve, task
from prefect.context import get_run_context


@task
def extract(n: int = 1) -> int:
    return n


@task
def boom() -> None:
    raise ValueError("boom: input file missing")


@task(retries=2, retry_delay_seconds=1)
def flaky() -> int:
    if get_run_context().task_run.run_count < 3:
        raise RuntimeError("flaky: try again")
    return 3


@task
def square(x: int) -> int:
    if x == 3:
        raise ValueError("square: three is not allowed")
    return x * x


@flow(name="ok")
def ok(run_id: str = "") -> int:
    return extract()


@flow(name="fail")
def fail(run_id: str = "") -> None:
    boom()


@flow(name="retry")
def retry(run_id: str = "") -> int:
    return flaky()


@flow(name="flowretry", retries=1, retry_delay_seconds=2)
def flowretry(run_id: str = "") -> int:
    if get_run_context().flow_run.run_count < 2:
        raise RuntimeError("first flow try fails")
    return extract()


@flow(name="mapped")
def mapped(run_id: str = "") -> None:
    square.map([1, 2, 3, 4]).result()


@flow(name="child")
def child(n: int) -> int:
    return extract(n)


@flow(name="parent")
def parent(run_id: str = "") -> int:
    return child(1) + child(2)


@flow(name="long")
def long(run_id: str = "", seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.2)


if __name__ == "__main__":
    serve(*(each.to_deployment("live") for each in (ok, fail, retry, flowretry, mapped, parent, long)), limit=4)
