"""`runlink record` and `runlink replay`: a sync becomes files without secrets, and the files become the same tables."""

import json

import pytest

TOKEN = "token-nobody-may-see"  # of the fixture `place`


@pytest.fixture
def recorded(place, acme):
    place.configure(("ci", acme))
    acme.add("b-1", "nightly/build", "COMPLETED", started="2026-01-05T10:00:00+00:00", parameters={"RUN_ID": "monday"})
    acme.add("t-1", "nightly/test", "PROCESSING", steps={"unit": "COMPLETED", "e2e": "FAILED"})
    acme.add("s-1", "deploy", "FAILED", message=f"curl -H 'Bearer {TOKEN}' failed", parameters={"password": "hunter2"})
    acme.runs["bad"] = {"id": "bad", "status": "COMPLETED"}
    place.said = place.ok("record", "ci", "--since", "3650d")
    return place


def test_what_is_recorded_makes_the_same_tables(recorded, acme):
    acme.close()
    said = recorded.ok("replay", "recording-ci", "-o", "json").json
    assert (said["instances"], said["statuses"]) == (3, {"COMPLETED": 1, "FAILED": 1, "PROCESSING": 1})
    assert (said["steps"], said["set_aside"], said["product"]) == (2, 1, "Acme CI 7.1")
    assert (said["differences"], said["missing"], said["unused"], said["error"]) == ([], [], 0, None)
    table = recorded.ok("replay", "recording-ci").out
    assert "1 COMPLETED, 1 FAILED, 1 PROCESSING" in table


def test_no_file_has_a_secret(recorded):
    files = sorted((recorded.path / "recording-ci").iterdir())
    assert [file.name for file in files][:2] == ["00001-get-api-about.json", "00002-get-api-runs.json"]
    for file in files:
        text = file.read_text()
        assert TOKEN not in text, file.name
        assert "hunter2" not in text, file.name
    first = json.loads(files[0].read_text())
    assert dict(first["request"]["headers"])["authorization"] == "[secret]"
    assert first["response"]["json"]["product"] == "Acme CI"


def test_the_store_of_the_configuration_is_left_alone(recorded):
    assert not (recorded.path / "runlink.db").exists()
    assert "look through it before you hand it on" in recorded.said.err


def test_a_difference_is_told(recorded):
    folder = recorded.path / "recording-ci"
    tables = json.loads((folder / "tables.json").read_text())
    tables["instances"]["b-1"]["status"] = "FAILED"
    del tables["instances"]["t-1"]
    (folder / "tables.json").write_text(json.dumps(tables))
    said = recorded("replay", "recording-ci")
    assert said.code == 1
    assert "b-1: status was 'FAILED', and is 'COMPLETED'" in said.err
    assert "t-1: only in the replay" in said.err
    (folder / "tables.json").unlink()
    assert "no tables to compare with" in recorded.ok("replay", "recording-ci").err


def test_a_request_that_was_not_recorded_is_told(recorded):
    (recorded.path / "recording-ci/00002-get-api-runs.json").unlink()
    said = recorded("replay", "recording-ci", "-o", "json")
    assert said.code == 1
    assert said.json["missing"] == ["GET /api/runs?since=&deep=False"]


def test_a_sync_that_fails_is_recorded_and_fails_again_in_the_same_way(place, acme):
    place.configure(("ci", acme))
    acme.mode = "down"
    said = place("record", "ci", "--to", "down")
    assert said.code == 1
    assert "answered 503" in said.err
    again = place.ok("replay", "down")
    assert "it ends as recorded: TransientError" in again.err


def test_an_engine_that_nobody_reaches_is_recorded_as_a_fault(place, acme):
    place.configure(("ci", acme))
    acme.close()
    assert place("record", "ci", "--to", "gone").code == 1
    (exchange,) = (place.path / "gone").glob("0*.json")
    assert "refused" in json.loads(exchange.read_text())["fault"]
    assert "it ends as recorded" in place.ok("replay", "gone").err


def test_what_cannot_be_is_refused(recorded):
    assert "no engine is called 'no'" in recorded("record", "no").err
    assert "recording-ci is not empty" in recorded("record", "ci").err
    assert "is no recording" in recorded("replay", "nowhere").err
    about = recorded.path / "recording-ci/recording.json"
    about.write_text(about.read_text().replace('"format": 1', '"format": 9'))
    assert "format 9; this release reads format 1" in recorded("replay", "recording-ci").err
