"""What of a page reaches the store, and which feeds are stopped."""

import itertools

import pytest

from runlink.daemon.errors import AdapterMisbehaved
from runlink.daemon.pages import MAX_EMPTY, MAX_REPEATS, checked
from runlink.spi import ExecutionStatus, Observation, Page


def seen(name, workflow="w"):
    return Observation(external_id=name, workflow=workflow, status=ExecutionStatus.PROCESSING, native_status="running")


def take(pages, wants=None, limit=50_000):
    return list(itertools.islice(checked(iter(pages), lambda: None, wants), limit))


def test_pages_pass_as_they_are():
    pages = [Page(observations=(seen("1"), seen("1"), seen("2")), cursors={"a": "1"}, gone=("3",)), Page()]
    assert take(pages) == pages


def test_workflows_that_are_not_wanted_are_left_out_and_cursors_kept():
    page = Page(observations=(seen("1", "a/x"), seen("2", "b/x")), cursors={"a": "1"})
    assert take([page], lambda name: name.startswith("a/")) == [
        Page(observations=(seen("1", "a/x"),), cursors={"a": "1"})
    ]


@pytest.mark.parametrize(
    "circle",
    [
        [Page(cursors={"all": "7"})],
        [Page(observations=(seen("1"),))],
        [Page(observations=(seen("1"),), cursors={"all": "1"}), Page(observations=(seen("2"),), cursors={"all": "2"})],
        [Page(gone=("1",))],
    ],
    ids=["cursor", "observations", "two in turn", "gone"],
)
def test_a_feed_that_runs_in_a_circle_is_stopped(circle):
    with pytest.raises(AdapterMisbehaved, match=f"the same page {MAX_REPEATS + 1} times"):
        take(itertools.cycle(circle))


def test_many_pages_without_news_are_no_circle_and_an_endless_stream_of_them_is():
    assert len(take(itertools.repeat(Page(), 300))) == 300
    with pytest.raises(AdapterMisbehaved, match=f"the same page {MAX_EMPTY + 1} times"):
        take(itertools.repeat(Page()))


def test_a_feed_whose_cursor_moves_is_no_circle():
    assert len(take(Page(cursors={"all": str(n)}) for n in range(500))) == 500


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ({"observations": []}, "gave dict where a Page belongs"),
        (None, "gave NoneType"),
        (Page(observations=["run 1"]), "holds str where an Observation"),
        (Page(cursors={7: "x"}), "partition 7"),
        (Page(gone=(None,)), "external ids"),
    ],
    ids=["dict", "None", "text as observation", "number as partition", "None as id"],
)
def test_what_is_no_page_is_refused(page, reason):
    with pytest.raises(AdapterMisbehaved, match=reason):
        take([page])


def test_what_is_lazy_is_read_before_it_goes_on():
    def raising():
        yield seen("1")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        take([Page(observations=raising())])
    assert take([Page(observations=iter([seen("1")]), cursors={})])[0].observations == (seen("1"),)


def test_the_check_runs_round_each_page():
    calls = []
    list(checked(iter([Page(cursors={"a": "1"}), Page(cursors={"a": "2"})]), lambda: calls.append(1), None))
    assert len(calls) == 4
