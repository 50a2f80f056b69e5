"""`[[items]]`: what is read, and what is refused with its place."""

from __future__ import annotations

import pytest

from runlink.application.settings import ItemRule
from runlink.config import ConfigError, load, load_items


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "runlink.toml"
        path.write_text(text, "utf-8")
        return path

    return write


def test_every_key_is_read(written):
    settings = load(
        written("""
        [[items]]
        name = "n"
        engine = "e"
        workflow = "w"
        automation = "a"
        steps = "s*"
        where = "inputs.x"
        leaves = false
        batch = "inputs.day"
        batch_payload = "inputs.b"
        sequence_number = "inputs.n"
        key = "inputs.k"
        payload = "inputs"
        create = true
        max_attempts = "inputs.m"
        [[items]]
        each = "steps"
        """),
        {"RUNLINK_ITEMS__1__WORKFLOW": "other"},
    )
    assert settings.items == (
        ItemRule(
            name="n", engine="e", workflow="w", automation="a", steps="s*", where="inputs.x", leaves=False,
            batch="inputs.day", batch_payload="inputs.b", sequence_number="inputs.n", key="inputs.k", payload="inputs",
            create=True, max_attempts="inputs.m",
        ),
        ItemRule(name="items[1]", each="steps", workflow="other"),
    )  # fmt: skip


def test_bad_rules_are_refused_with_their_place(written):
    with pytest.raises(ConfigError) as caught:
        load(
            written("""
            [[items]]
            steps = "a"
            [[items]]
            name = "x"
            each = "steps"
            key = "inputs.("
            seqence_number = 7
            [[items]]
            name = "x"
            each = "all"
            batch_payload = "inputs"
            """),
            {},
        )
    found = "\n".join(caught.value.problems)
    for told in (
        'items[0]: does not say which item a step is; give sequence_number, key, or each = "steps"',
        "items[1].each: says which item a step is, and so does key; keep one of them",
        "items[1].key: 'inputs.(' is not JMESPath at character",
        "items[1].seqence_number: unknown key; did you mean 'sequence_number'?",
        "items[2].name: 'x' is the name of items[1] too",
        "items[2].each: 'all' is not one of 'steps'",
        "items[2].batch_payload: is for batches that are made",
    ):
        assert told in found


def test_rules_of_a_file_of_their_own(written):
    assert load_items(written('[store]\nurl = "sqlite:///x.db"\n[[items]]\neach = "steps"\n')) == (
        ItemRule(name="items[0]", each="steps"),
    )
    for text, told in (("", "has no [[items]]"), ("[[items]]\n", "items[0]: does not say"), ('items = "x"', "items")):
        with pytest.raises(ConfigError, match=r"items") as caught:
            load_items(written(text))
        assert told in str(caught.value)
