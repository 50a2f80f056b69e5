"""Holds the in-memory Buildbot of these tests to the recorded one: the same question, the same rows."""

import httpx
import pytest

QUESTIONS = ["030", "031", "032", "033", "034", "036", "037"]


@pytest.mark.parametrize("name", QUESTIONS)
def test_same_question_same_rows(name, master, recorded):
    exchange = recorded(name)
    master.at(13)
    answer = master.answer(httpx.Request("GET", exchange["request"]["url"], headers={"accept": "*/*"}))
    assert answer.status_code == exchange["response"]["status"]
    assert answer.headers["content-type"] == exchange["response"]["headers"]["content-type"]
    ids = [row["buildid"] for row in answer.json().get("builds", ())]
    expected = [row["buildid"] for row in exchange["response"]["json"].get("builds", ())]
    assert ids == expected if "order" in exchange["request"]["query"] else set(ids) == set(expected)


@pytest.mark.parametrize(("name", "path"), [("006", "nope"), ("007", "builds/9999")])
def test_not_found(name, path, master, recorded):
    answer = master.answer(httpx.Request("GET", f"http://buildbot.test/api/v2/{path}", headers={"accept": "*/*"}))
    assert answer.status_code == recorded(name)["response"]["status"] == 404
