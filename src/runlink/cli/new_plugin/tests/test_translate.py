"""What Acme shows, as observations. Put recorded answers of your engine here."""

from datetime import UTC, datetime

import pytest
from runlink_acme.translate import STATUS, observe
from scripted_acme import AcmeEngine


def test_a_run_as_it_is_shown():
    engine = AcmeEngine()
    run = engine.start("etl")
    told = observe(engine.row(run))
    assert (told.external_id, told.workflow, told.native_status) == ("1-1", "etl", "active")
    assert told.started_at == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert told.parameters["RUN_ID"] == "run-1"


@pytest.mark.parametrize("word", STATUS)
def test_each_word_has_a_meaning(word):
    engine = AcmeEngine()
    assert observe(engine.row(engine.start(native=word))).status is STATUS[word]
