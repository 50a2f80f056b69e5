"""The fast check of payloads says yes to nothing that jsonschema refuses, and both together accept and refuse alike."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runlink.application.items.payloads import batch_check, fast, item_check
from runlink.domain import Automation, ValidationError

values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 1.5, -2.0, 2**60, 1e300])
    | st.text("ab\n\u0661é", max_size=3)
    | st.sampled_from(["2026-11-25", "2026-11-25T10:00:00Z", "10.0.0.1", "a@b.example", "not-a-date"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
types = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
formats = st.sampled_from(["date", "date-time", "ipv4", "email", "uri", "uuid"])


def with_parts(inner):
    part = st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
            "additionalProperties": inner,
            "items": inner,
            "contains": inner,
            "propertyNames": inner,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "pattern": st.sampled_from(["^a$", r"^\d$", "."]),
            "multipleOf": st.sampled_from([0.1, 2]),
        },
    )
    return st.builds(lambda one, other: one | other, plain, part)


plain = st.fixed_dictionaries(
    {},
    optional={
        "type": types | st.lists(types, min_size=1, max_size=2, unique=True),
        "enum": st.lists(values, min_size=1, max_size=3),
        "const": values,
        "format": formats,
        "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
        "minimum": st.integers(-2, 2) | st.sampled_from([0.5, 1.0]),
        "exclusiveMaximum": st.integers(-2, 2),
        "minLength": st.integers(0, 2),
        "maxLength": st.integers(0, 2),
        "minItems": st.integers(0, 2),
        "maxItems": st.integers(0, 2),
        "uniqueItems": st.booleans(),
        "minProperties": st.integers(0, 2),
        "maxProperties": st.integers(0, 2),
    },
)
schemas = st.recursive(st.booleans() | plain, with_parts, max_leaves=4).filter(lambda one: isinstance(one, dict))
drafts = st.sampled_from(
    [None, "http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"]
)


def reference(automation, payload):
    """What the domain's own check says."""
    try:
        automation.validate_item_payload(payload)
    except ValidationError:
        return False
    return True


@given(schema=schemas, draft=drafts, payloads=st.lists(values, min_size=1, max_size=6))
@settings(max_examples=600, deadline=None)
def test_both_accept_and_refuse_the_same(schema, draft, payloads):
    schema = schema if draft is None else schema | {"$schema": draft}
    try:
        automation = Automation(name="a", item_schema=schema)
    except ValidationError:
        return
    check, quick = item_check(automation), fast(msgspec.json.encode(schema, order="deterministic").decode())
    for payload in payloads:
        accepted = reference(automation, payload)
        assert (check(payload) is None) is accepted
        if quick is not None and quick(payload):
            assert accepted


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "^a$"},
        {"patternProperties": {"a": True}},
        {"multipleOf": 0.1},
        {"$ref": "#/$defs/a", "$defs": {"a": {}}},
        {"unevaluatedProperties": False},
        {"properties": {"a": {"pattern": "x"}}},
        {"$schema": "http://json-schema.org/draft-04/schema#"},
        {"maximum": 2**60},
    ],
)
def test_what_the_two_may_judge_differently_is_not_asked_of_the_fast_one(schema):
    assert fast(msgspec.json.encode(schema).decode()) is None


def test_a_common_schema_is_asked_of_the_fast_one_and_reasons_come_from_the_other():
    schema = {"type": "object", "properties": {"pattern": {"type": "string"}}, "required": ["pattern"]}
    assert fast(msgspec.json.encode(schema).decode())({"pattern": "x"})
    check = item_check(Automation(name="a", item_schema=schema))
    assert check({"pattern": "x"}) is None
    assert check({"pattern": 7}) == "$.pattern: 7 is not of type 'string'"
    assert check(None) == "$: None is not of type 'object'"
    assert item_check(Automation(name="a"))(object()) is None
    assert batch_check(Automation(name="a", batch_schema={"type": "string"}))(7) == "$: 7 is not of type 'string'"


def test_formats_are_not_asserted_by_either():
    check = item_check(Automation(name="a", item_schema={"type": "string", "format": "date-time"}))
    assert check("notadate") is None


@pytest.mark.parametrize("payload", [float("nan"), 2**70, [2**60], (1, 2)])
def test_what_the_fast_one_cannot_read_is_left_to_the_other(payload):
    assert fast("{}")(payload) is False
    assert item_check(Automation(name="a", item_schema={}))(payload) is None
