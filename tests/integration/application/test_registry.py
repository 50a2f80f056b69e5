"""Engines and automations of the configuration as rows: entering the file, leaving it, coming back, renamed."""

from __future__ import annotations

import pytest

from runlink.application.registry import register
from runlink.application.settings import EngineSettings, LinkRule, Settings
from runlink.domain import ValidationError


@pytest.fixture
def configure(store):
    """configure(EngineSettings(…), …, links=("nightly",)): the rows made to agree; what was said."""

    def configure(*engines, links=()):
        settings = Settings(
            store_url="",
            engines={engine.name: engine for engine in engines},
            links=tuple(LinkRule(name=f"r{n}", automation=name, run_key="labels.run") for n, name in enumerate(links)),
        )
        return store.write(lambda uow: register(uow, settings), actor="cli:me")

    return configure


@pytest.fixture
def stored(store):
    def stored():
        with store.reading() as uow:
            return {engine.name: engine for engine in uow.engines.list(include_inactive=True)}

    return stored


def engine(name, type_="Jenkins", **fields):
    return EngineSettings(**({"name": name, "type": type_, "url": f"http://{name}"} | fields))


def test_an_engine_that_enters_the_file_is_a_row(configure, stored):
    registered = configure(engine("a"), engine("b", "Argo"))
    assert registered.changes == ("engine a: new, Jenkins at http://a", "engine b: new, Argo at http://b")
    assert registered.engines["a"] == stored()["a"]
    assert (stored()["b"].type, stored()["b"].created_by) == ("Argo", "cli:me")


def test_the_same_file_again_writes_nothing(configure, stored):
    configure(engine("a"), links=("nightly",))
    version = stored()["a"].version
    assert configure(engine("a"), links=("nightly",)).changes == ()
    assert stored()["a"].version == version


def test_an_engine_that_leaves_is_deactivated_and_comes_back_as_the_same_row(configure, stored):
    first = configure(engine("a")).engines["a"]
    assert configure().changes == ("engine a: deactivated; its instances stay",)
    assert not stored()["a"].is_active
    assert configure().changes == ()
    again = configure(engine("a"))
    assert again.engines["a"].id == first.id
    assert again.changes == ("engine a: active again",)
    assert stored()["a"].is_active


def test_another_address_is_the_same_engine(configure, stored):
    configure(engine("a"))
    assert configure(engine("a", url="http://new")).changes == ("engine a: now at http://new",)
    assert stored()["a"].url == "http://new"


def test_renamed_from_keeps_the_row_under_the_new_name(configure, stored):
    before = configure(engine("old")).engines["old"]
    renamed = configure(engine("new", renamed_from="old", url="http://old"))
    assert renamed.changes == ("engine new: renamed from old",)
    assert renamed.engines["new"].id == before.id
    assert set(stored()) == {"new"}
    assert configure(engine("new", renamed_from="old", url="http://old")).changes == ()


@pytest.mark.parametrize("renamed_first", [True, False])
def test_the_former_name_may_be_another_engines_in_the_same_file(configure, stored, renamed_first):
    before = configure(engine("old")).engines["old"]
    file = [engine("new", renamed_from="old", url="http://old"), engine("old", "Argo")]
    registered = configure(*(file if renamed_first else reversed(file)))
    assert registered.engines["new"].id == before.id
    assert registered.engines["old"].type == "Argo"
    assert len(stored()) == 2


def test_a_rename_that_comes_too_late_is_said(configure):
    configure(engine("old"))
    configure(engine("new"))
    changes = configure(engine("new", renamed_from="old")).changes
    assert changes == ("engine new: renamed_from has no effect, old is stored beside it; take it out",)


@pytest.mark.parametrize("active", [True, False])
def test_a_changed_type_is_refused_with_a_sentence(configure, stored, active):
    configure(engine("a"), engine("b"))
    if not active:
        configure(engine("b"))
    with pytest.raises(ValidationError, match=r"engines\.a\.type: is 'Argo', .* stored as 'Jenkins'; give the new one"):
        configure(engine("b", url="http://new"), engine("a", "Argo"))
    assert stored()["b"].url == "http://b", "all or nothing"


def test_types_match_regardless_of_case(configure, stored):
    configure(engine("a", "Jenkins"))
    assert configure(engine("a", "jenkins")).changes == ()
    assert stored()["a"].type == "Jenkins"


def test_automations_that_rules_name_are_made_once(configure, store):
    first = configure(links=("nightly", " nightly ", "weekly"))
    assert first.changes == ("automation nightly: new", "automation weekly: new")
    again = configure(links=(" nightly ", "weekly"))
    assert again.changes == ()
    assert again.rules.automations[" nightly "] == first.rules.automations["nightly"]
    with store.reading() as uow:
        assert [automation.name for automation in uow.automations.list()] == ["nightly", "weekly"]
