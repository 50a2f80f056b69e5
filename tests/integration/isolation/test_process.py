"""An adapter in a process of its own: how that ends, what it may say, and what it is not told."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.engines.puppets import START, until
from tests.integration.isolation import odd_adapters
from tests.integration.isolation.conftest import QUICK, TOKEN, fds, is_there

from runlink.hosting import AdapterFault, ProcessLost
from runlink.hosting.isolation import IsolatedFault
from runlink.spi import Delivery, EngineInfo, Page, TransientError


def test_it_is_another_process(host):
    hosted = host("Odd", "three_pages")
    assert hosted.adapter.check() == EngineInfo(product="Odd", version=str(hosted.process.pid))
    assert hosted.process.pid != os.getpid()
    assert is_there(hosted.process.pid)
    hosted.close()
    assert not is_there(hosted.process.pid)
    assert not hosted.is_lost
    hosted.close()
    with pytest.raises(TransientError, match="closed: the host let go"):
        hosted.adapter.check()


# --- its end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "says"),
    [
        ("leave", r"ended with exit code 7 \(last words: the last words\); it is started again"),
        ("crash", "ended by signal 11"),
        ("fork_and_leave", "ended with exit code 7"),
        ("loop", "hung past the end of its time, and was killed"),
        ("hold_the_interpreter", "hung past the end of its time, and was killed"),
        ("speak_nonsense", "said what makes no sense"),
        ("speak_pickle", "said what makes no sense"),
        ("carry_what_nobody_looks_at", "said what makes no sense"),
    ],
)
def test_a_process_that_is_lost_says_how(host, do, says):
    left_s = 2.0 if "hung" in says else None
    hosted = host("Odd", do, limits=QUICK, left_s=left_s)
    with pytest.raises(ProcessLost, match=says):
        list(hosted.adapter.poll({}))
    assert hosted.is_lost
    until(lambda: not is_there(hosted.process.pid), "its end")
    with pytest.raises(ProcessLost):  # and so does whoever comes after
        hosted.adapter.check()


def test_a_process_that_ends_between_calls_says_how(host):
    for _ in range(20):
        hosted = host("Odd", "three_pages")
        os.kill(hosted.process.pid, signal.SIGKILL)
        with pytest.raises(ProcessLost, match="ended by signal 9"):
            hosted.adapter.check()


@pytest.mark.skipif(sys.platform != "linux", reason="what is open is read from /proc")
def test_a_host_without_file_descriptors_says_so_and_keeps_none(host):
    host("Odd", "three_pages").close()
    gc.collect()
    before = fds()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    said = []
    for more in range(12):
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + more, hard))
        try:
            host("Odd", "three_pages").close()
        except (ProcessLost, AdapterFault) as error:
            said.append(error)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    gc.collect()
    assert {type(error) for error in said} == {ProcessLost}
    assert all("Too many open files" in str(error) for error in said)
    until(lambda: fds() <= before, "the end of what was opened")


def test_an_interpreter_that_is_held_is_noticed_without_a_deadline(host):
    hosted = host("Watching", "hold_the_interpreter", limits=QUICK)
    with pytest.raises(ProcessLost, match="gave no sign of life for 2 s, and was killed"):
        list(hosted.adapter.watch({}))


def test_close_ends_a_process_that_hears_nothing(host, tmp_path):
    hosted = host("Odd", "hold_the_interpreter")
    said = []

    def poll():
        try:
            list(hosted.adapter.poll({}))
        except TransientError as error:
            said.append(str(error))

    polling = threading.Thread(target=poll)
    polling.start()
    until((tmp_path / "held").exists, "the poll")
    hosted.close()
    polling.join(30)
    assert said == ["closed: the host let go of this engine"]
    assert not is_there(hosted.process.pid)


def test_what_it_started_ends_with_it(host, tmp_path):
    hosted = host("Odd", "start_another")
    list(hosted.adapter.poll({}))
    other = int((tmp_path / "other").read_text())
    assert is_there(other)
    hosted.close()
    until(lambda: not is_there(other), "the other's end")


def test_it_leaves_nothing_behind(host, tmp_path):
    (tmp_path / "done").touch()
    host("Odd", "loop").close()
    gc.collect()
    before, threads = fds(), threading.active_count()
    for _ in range(3):
        host("Odd", "loop").close()
    until(lambda: threading.active_count() <= threads, "the end of the threads")
    gc.collect()
    assert fds() <= before


HOST = """
import sys, threading
from datetime import UTC, datetime
sys.path[:0] = {path!r}
from tests.integration.isolation.odd_adapters import Odd
from runlink.application.settings import EngineSettings
from runlink.hosting import build_adapter
from runlink.hosting.isolation import isolated
settings = EngineSettings(name="odd", type="odd", url="http://h", options={{"do": {do!r}, "place": {place!r}}})
hosted = build_adapter(isolated(Odd), settings, now=lambda: datetime.now(UTC), since=datetime.now(UTC))
print(hosted.process.pid, flush=True)
list(hosted.adapter.poll({{}}))
threading.Event().wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the lifeline is Linux's")
@pytest.mark.parametrize("do", ["hold_the_interpreter", "loop"])
def test_it_ends_with_a_host_that_is_killed(tmp_path, do):
    code = HOST.format(path=sys.path, do=do, place=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as host:
        pid = int(host.stdout.readline())
        if do == "hold_the_interpreter":
            until((tmp_path / "held").exists, "the poll")
        assert is_there(pid)
        host.send_signal(signal.SIGKILL)
    until(lambda: not is_there(pid), "the child's end")


def test_close_lets_a_page_go_that_is_being_stored(host, tmp_path):
    hosted = host("Odd", "page_that_is_kept")
    pages = hosted.adapter.poll({})
    next(pages)
    hosted.close()
    assert (tmp_path / "let-go").exists()
    pages.close()


def test_sigterm_is_left_to_the_host(host, tmp_path):
    (tmp_path / "done").touch()
    hosted = host("Odd", "loop")
    os.kill(hosted.process.pid, signal.SIGTERM)
    os.kill(hosted.process.pid, signal.SIGINT)
    assert [page.observations[0].external_id for page in hosted.adapter.poll({})] == ["1"]


# --- what it says ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", odd_adapters.ERRORS)
def test_errors_come_as_they_are(host, kind):
    adapter, expected = host("Raising", kind).adapter, odd_adapters.ERRORS[kind]
    delivery = Delivery(id="1", received_at=START, headers=(), body=b"\xff")
    for call in (adapter.check, lambda: list(adapter.poll({})), lambda: adapter.receive(delivery)):
        with pytest.raises(type(expected)) as raised:
            call()
        assert type(raised.value) is type(expected)
        assert str(raised.value) == str(expected)
        assert getattr(raised.value, "retry_after_s", None) == getattr(expected, "retry_after_s", None)


def test_an_error_of_the_plugins_own_is_its_parent(host):
    with pytest.raises(odd_adapters.Refused, match="my own") as raised:
        host("Raising", "own").adapter.check()
    assert type(raised.value) is odd_adapters.Refused


def test_a_bug_has_the_traceback_of_its_process(host):
    with pytest.raises(IsolatedFault, match="ZeroDivisionError: a bug") as raised:
        host("Raising", "bug").adapter.check()
    assert "odd_adapters.py" in raised.value.__notes__[0]


def test_no_secret_is_in_a_bug(host):
    with pytest.raises(IsolatedFault) as raised:
        list(host("Odd", "raise_secret").adapter.poll({}))
    told = str(raised.value) + raised.value.__notes__[0]
    assert TOKEN not in told
    assert "no use: [secret]" in told


@pytest.mark.parametrize(
    ("do", "raised", "says"),
    [
        ("raise_half_a_pair", TransientError, "half of a pair: "),
        ("raise_unspeakable", IsolatedFault, "UnspeakableError"),
        ("raise_at_length", TransientError, "xxxx"),
    ],
)
def test_an_error_that_cannot_be_told_as_it_is_comes_all_the_same(host, do, raised, says):
    hosted = host("Odd", do, left_s=20.0)
    with pytest.raises(raised, match=says) as told:
        list(hosted.adapter.poll({}))
    assert type(told.value) is raised
    assert not hosted.is_lost


def test_a_log_line_that_makes_no_sense_ends_no_poll(host, caplog):
    assert len(list(host("Odd", "log_oddly").adapter.poll({}))) == 1
    assert any("half of a pair: " in r.getMessage() for r in caplog.records)


def test_an_adapter_that_cannot_be_made(host):
    with pytest.raises(odd_adapters.ConfigRejected, match=r"^not with \[secret\]$"):
        host("Unmade", "reject")
    with pytest.raises(AdapterFault, match="Unmade could not be made: KeyError: 'a bug of its constructor'"):
        host("Unmade", "fail")


def test_what_it_prints_is_logged_and_breaks_nothing(host, caplog):
    caplog.set_level(logging.INFO, "runlink")
    hosted = host("Odd", "print_much")
    assert len(list(hosted.adapter.poll({}))) == 1
    hosted.close()
    printed = [r.getMessage() for r in caplog.records if "its process printed: " in r.getMessage()]
    assert [line.rpartition("printed: ")[2] for line in printed[:2]] == ["line 0 [secret]", "line 1 [secret]"]
    assert len(printed) == 2001
    assert printed[-1].endswith("no newlineto stderr")
    assert TOKEN not in caplog.text


def test_it_reads_nothing_from_the_host(host):
    assert len(list(host("Odd", "read_stdin").adapter.poll({}))) == 1


def test_its_log_is_the_hosts(host, caplog):
    list(host("Odd", "log").adapter.poll({}))
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("runlink.engines.odd", logging.WARNING)
    assert record.getMessage() == "the token is [secret]"


def test_no_page_is_made_before_the_last_is_stored(host, tmp_path):
    pages = host("Odd", "three_pages").adapter.poll({})
    assert next(pages).observations[0].external_id == "0"
    assert not (tmp_path / "page-1").exists()
    pages.close()
    assert not (tmp_path / "page-1").exists()


def test_observations_that_cannot_be_told_are_set_aside(host):
    page, _ = host("Odd", "odd_page").adapter.poll({})
    assert [o.external_id for o in page.observations] == ["good"]
    assert len(page.unreadable) == 3
    assert all(bad.reason.startswith("cannot be stored: ") for bad in page.unreadable)


def test_what_is_no_page_is_a_bug(host):
    with pytest.raises(IsolatedFault, match="it gave dict where a Page belongs"):
        list(host("Odd", "no_page").adapter.poll({}))


# --- what it is not told ---------------------------------------------------------------------------------------------


def test_secrets_are_in_no_list_of_processes(host, monkeypatch):
    monkeypatch.setenv("OTHER_TOKEN", "another-engines-token")
    hosted = host("Odd", "loop")
    for name in ("cmdline", "environ"):
        told = Path(f"/proc/{hosted.process.pid}/{name}").read_bytes()
        assert TOKEN.encode() not in told
        assert b"another-engines-token" not in told


def test_pages_are_pages(host):
    (page,) = host("Odd", "log").adapter.poll({})
    assert page == Page(observations=[odd_adapters.run("1")], cursors={"all": "1"})
