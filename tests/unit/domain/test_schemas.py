"""Automation's schemas and the payloads of batches and items."""

import pytest

from runlink.domain import MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, Automation, Batch, Item, ValidationError, new_id

CUSTOMER = {
    "type": "object",
    "properties": {"customer": {"$ref": "#/$defs/customer"}, "tags": {"type": "array", "items": {"type": "string"}}},
    "required": ["customer"],
    "$defs": {"customer": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id", "name"]}},
}
BAD_SCHEMAS = {
    "not an object": (True, "must be a JSON object, not bool"),
    "not JSON": ({"enum": [{1, 2}]}, "must be JSON data"),
    "not a number": ({"const": float("nan")}, "must be JSON data"),
    "unknown type": ({"properties": {"a": {"type": "strnig"}}}, r"batch_schema\.properties\.a\.type: 'strnig'"),
    "bad pattern": ({"pattern": "("}, r"batch_schema\.pattern"),
    "remote reference": ({"items": {"$ref": "https://example.org/a.json"}}, r"batch_schema\.items\.\$ref: .*never"),
    "file reference": ({"allOf": [{"$ref": "other.json#/a"}]}, r"batch_schema\.allOf\[0\]\.\$ref"),
    "remote dynamic": ({"$dynamicRef": "https://example.org/a.json#x"}, r"\$dynamicRef"),
    "dangling reference": ({"$ref": "#/$defs/nothing"}, "leads nowhere"),
    "unknown draft": ({"$schema": "https://example.org/mine"}, "no known draft"),
    "draft of a wrong type": ({"$schema": {}}, "no known draft"),
    "too large": ({"description": "x" * MAX_SCHEMA_BYTES}, "larger than 64 KiB"),
}  # fmt: skip


def nested(levels):
    schema = {}
    for _ in range(levels - 1):
        schema = {"not": schema}
    return schema


@pytest.mark.parametrize(("schema", "reason"), BAD_SCHEMAS.values(), ids=BAD_SCHEMAS)
def test_a_bad_schema_is_refused_when_given_and_when_updated(schema, reason):
    with pytest.raises(ValidationError, match=reason) as caught:
        Automation(name="a", batch_schema=schema)
    assert all(problem.startswith("batch_schema") for problem in caught.value.problems)
    automation = Automation(name="a")
    with pytest.raises(ValidationError):
        automation.update_schemas(batch_schema={}, item_schema=schema)
    assert (automation.batch_schema, automation.item_schema, automation.version) == (None, None, 1)


def test_depth_is_bounded():
    Automation(name="a", item_schema=nested(MAX_SCHEMA_DEPTH))
    with pytest.raises(ValidationError, match="deeper than 32"):
        Automation(name="a", item_schema=nested(MAX_SCHEMA_DEPTH + 1))
    endless = {}
    endless["not"] = endless
    with pytest.raises(ValidationError, match="deeper than 32"):
        Automation(name="a", item_schema=endless)


def test_all_that_is_wrong_with_a_schema_is_named():
    with pytest.raises(ValidationError) as caught:
        Automation(name="a", item_schema={"type": 7, "minLength": -1, "items": {"$ref": "http://example.org"}})
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "item_schema.items.$ref", "item_schema.minLength", "item_schema.type",
    ]  # fmt: skip


def test_the_named_draft_is_honoured():
    draft_4 = {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": True}
    automation = Automation(name="a", item_schema=draft_4)
    with pytest.raises(ValidationError):
        automation.validate_item_payload(1)
    with pytest.raises(ValidationError, match="exclusiveMinimum"):  # a number since draft 6
        Automation(name="a", item_schema={"minimum": 1, "exclusiveMinimum": True})


def test_update_keeps_what_is_left_out_and_removes_none(minutes):
    automation = Automation(name="a", batch_schema={"type": "object"}, created_at=minutes(0))
    automation.update_schemas(item_schema=CUSTOMER, at=minutes(1))
    assert (automation.batch_schema, automation.item_schema) == ({"type": "object"}, CUSTOMER)
    assert (automation.version, automation.updated_at) == (2, minutes(1))
    automation.update_schemas(batch_schema=None)
    assert (automation.batch_schema, automation.version) == (None, 3)
    automation.update_schemas()
    automation.update_schemas(None, dict(CUSTOMER))
    assert automation.version == 3


def test_payload_failures_are_all_named_with_their_paths():
    automation = Automation(name="Data Import", batch_schema=CUSTOMER, item_schema=CUSTOMER)
    for validate, field in (
        (automation.validate_batch_payload, "batch_schema"),
        (automation.validate_item_payload, "item_schema"),
    ):
        validate({"customer": {"id": 1, "name": "x"}})
        with pytest.raises(ValidationError, match=field) as caught:
            validate({"customer": {"id": "1"}, "tags": ["a", 7]})
        assert caught.value.problems == (
            "$.customer.id: '1' is not of type 'integer'",
            "$.customer: 'name' is a required property",
            "$.tags[1]: 7 is not of type 'string'",
        )
        assert "Data Import" in str(caught.value)


def test_without_a_schema_any_payload_passes():
    Automation(name="a").validate_batch_payload({"anything": 1})
    Automation(name="a").validate_item_payload(None)


def test_a_schema_that_refers_to_itself():
    tree = Automation(name="a", item_schema={"properties": {"child": {"$ref": "#"}}, "required": ["name"]})
    tree.validate_item_payload({"name": "a", "child": {"name": "b"}})
    with pytest.raises(ValidationError, match=r"\$\.child\.child: 'name'"):
        tree.validate_item_payload({"name": "a", "child": {"name": "b", "child": {}}})
    endless = Automation(name="a", item_schema={"$ref": "#"})
    with pytest.raises(ValidationError, match="refers to itself without end"):
        endless.validate_item_payload({})


def test_a_schema_changed_behind_our_back_is_checked_as_it_is_now():
    schema = {"type": "object"}
    automation = Automation(name="a", item_schema=schema)
    schema["type"] = "array"
    automation.validate_item_payload([])


@pytest.mark.parametrize(
    "make",
    [
        lambda **p: Batch(automation_id=new_id(), name="a", **p),
        lambda **p: Item(batch_id=new_id(), sequence_number=1, **p),
    ],
)
def test_update_payload(make, minutes):
    holder = make(created_at=minutes(0), payload={"a": 1})
    holder.update_payload({"a": 1})
    assert holder.version == 1
    holder.update_payload({"a": True}, at=minutes(1))  # equal to Python, another value to JSON
    assert (holder.payload, holder.version, holder.updated_at) == ({"a": True}, 2, minutes(1))
    holder.update_payload({"a": [1, {"b": 2}]})
    holder.update_payload({"a": [1, {"b": 2}]})
    assert holder.version == 3
    holder.update_payload(None)
    assert (holder.payload, holder.version) == (None, 4)
    for bad in ({"a": object()}, {"a": float("inf")}):
        with pytest.raises(ValidationError, match="payload: must be JSON data"):
            holder.update_payload(bad)
        with pytest.raises(ValidationError, match="payload: must be JSON data"):
            make(payload=bad)
    assert holder.version == 4
