"""The pools for urllib3-based clients: one budget, one clock, sockets that close; deadlines belong to threads."""

import threading
import time
from typing import ClassVar

import pytest

import runlink.testing
from runlink.hosting.guard import Guard
from runlink.spi import Adapter, ConfigRejected, EngineInfo, TransientError


class Plain(Adapter):
    name = "plain"
    config_schema: ClassVar = {"type": "object"}

    def check(self):
        return EngineInfo(product="plain", version="1")


def slow(_method, path, _headers, _body):
    time.sleep(float(path.rpartition("/")[2] or 0))
    return 200, {}, b"ok"


@pytest.fixture
def engine():
    with runlink.testing.serve_exchanges(slow) as running:
        yield running


@pytest.fixture
def make():
    made = []

    def adapter(url, **settings):
        made.append(runlink.testing.build(Plain, url, **settings))
        return made[-1]

    yield adapter
    for each in made:
        runlink.testing.close(each)


def test_requests_are_counted_and_answered(engine, make):
    adapter = make(engine.url)
    pools = adapter.context.urllib3_pools()
    assert pools.request("GET", f"{engine.url}/0").data == b"ok"
    assert runlink.testing.requests_made(adapter) == 1
    assert adapter.context.guard.answers == {"none": 0, "200": 1}


def test_the_hosts_time_limit_and_a_longer_one_for_a_stream(engine, make):
    adapter = make(engine.url, request_timeout_s=0.1)
    pools = adapter.context.urllib3_pools()
    with pytest.raises(TransientError, match="no answer for"):
        pools.request("GET", f"{engine.url}/0.3")
    assert pools.request("GET", f"{engine.url}/0.3", timeout=5.0).data == b"ok"


def test_a_fault_is_one_try_and_transient(make):
    adapter = make("http://127.0.0.1:9")
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:9"):
        adapter.context.urllib3_pools().request("GET", "http://127.0.0.1:9/x?secret=1")
    assert runlink.testing.requests_made(adapter) == 1
    assert adapter.context.guard.answers == {"none": 1}
    with pytest.raises(ConfigRejected, match="socks"):
        adapter.context.urllib3_pools(proxy_url="socks5://127.0.0.1:1")


def test_close_wakes_a_reader(engine, make):
    adapter = make(engine.url)
    pools = adapter.context.urllib3_pools()
    failed = []

    def read():
        try:
            pools.request("GET", f"{engine.url}/30")
        except TransientError as error:
            failed.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    while not engine.requests:
        time.sleep(0.005)
    runlink.testing.close(adapter)
    thread.join()
    assert failed  # it did not get the answer, which comes after half a minute


def test_a_polls_deadline_does_not_bound_a_watch():
    guard = Guard(request_timeout_s=30)
    guard.begin_turn(time.monotonic() - 1)
    with pytest.raises(TransientError, match="time is up"):
        guard.timeout()
    found = []
    thread = threading.Thread(target=lambda: found.append(guard.timeout()))
    thread.start()
    thread.join()
    assert found == [30]
    guard.begin_turn(None)
    assert guard.timeout(90.0, longer=True) == 90.0
    assert guard.timeout(90.0) == 30
