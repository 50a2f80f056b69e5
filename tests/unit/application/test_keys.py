"""What rules look for: JMESPath, templates, values that two engines have in common."""

from __future__ import annotations

import pytest

from runlink.application.rules.keys import (
    RuleFailed,
    as_key,
    as_values,
    compile_expression,
    compile_key,
    compile_template,
    normal_url,
)
from runlink.domain import MAX_KEY_LENGTH

DATA = {
    "parameters": {"RUN": " r ", "n": 7, "list": ["a", 2]},
    "labels": {"a-b": "x"},
    "workflow": "w/1",
    "message": None,
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("parameters.RUN", " r "),
        ("parameters.none.deeper", None),
        ("message.deeper", None),
        ('labels."a-b"', "x"),
        ("parameters.none || workflow", "w/1"),
        ("split", None),
        ("join('-', [workflow, labels.\"a-b\"])", "w/1-x"),
    ],
)
def test_a_path_is_walked_and_anything_else_is_jmespath(expression, value):
    assert compile_key(expression)(DATA) == value


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("a..b", "is not JMESPath at character 3"),
        ("a.", "is not JMESPath at character 3"),
        ("a || 'b", "is not JMESPath"),
        ("`", "is not JMESPath"),
        ("splitt(workflow)", r"splitt\(\), and JMESPath has no such function"),
        ("a || [join(workflow)]", r"join\(\) with 1 arguments; it takes 2"),
        ("merge()", r"merge\(\) with 0 arguments; it takes at least 1"),
    ],
)
def test_what_is_no_expression_is_refused_with_its_place(expression, reason):
    with pytest.raises(ValueError, match=reason):
        compile_key(expression)


@pytest.mark.parametrize("expression", ["[" * 3000, "(" * 2000 + "a" + ")" * 2000])
def test_an_expression_that_is_nested_too_deeply_is_refused(expression):
    with pytest.raises(ValueError, match=r"is not JMESPath|is too deeply nested"):
        compile_expression(expression)


@pytest.mark.parametrize("expression", ["'abc'", "`1`", "join('-', ['a', 'b'])"])
def test_a_key_that_looks_at_nothing_is_refused(expression):
    assert compile_expression(expression)(DATA) is not None  # a batch may be called so
    with pytest.raises(ValueError, match="is the same for every instance"):
        compile_key(expression)


def test_a_template_is_filled_or_nothing():
    assert compile_template("{workflow}/{parameters.n}{{x}}")(DATA) == "w/1/7{x}"
    assert compile_template("{workflow}/{parameters.none}")(DATA) is None
    assert compile_template("{ parameters.RUN }!")(DATA) == "r!"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("day", "is the same for every instance"),
        ("{`1`}", "is the same for every instance"),
        ("{workflow", "a single '{' at character 1"),
        ("a}{workflow}", "a single '}' at character 2"),
        ("{}", "is not JMESPath"),
        ("{a..b}", "is not JMESPath at character 3"),
    ],
)
def test_a_template_that_is_none_is_refused(template, reason):
    with pytest.raises(ValueError, match=reason):
        compile_template(template)


def test_a_key_that_fits_no_index_fails():
    assert as_key("k" * MAX_KEY_LENGTH) == "k" * MAX_KEY_LENGTH
    with pytest.raises(RuleFailed, match="has 501 characters"):
        as_key("k" * 501)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://CI.example.com/job/a/1/", "HTTPS://ci.example.com:443/job/a/1"),
        ("http://ci:80/job/a/1/#log", "http://ci/job/a/1"),
        ("http://user:secret@ci:8080/x?y=1", "http://ci:8080/x?y=1"),
        ("http://[::1]:80/x", "http://[::1]/x"),
    ],
)
def test_addresses_of_one_place_are_one(one, other):
    assert normal_url(one) == normal_url(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://ci/job/A", "http://ci/job/a"),
        ("http://ci/a?x=1", "http://ci/a?x=2"),
        ("http://ci:8080/a", "http://ci/a"),
        ("http://ci/a", "https://ci/a"),
    ],
)
def test_addresses_of_two_places_are_two(one, other):
    assert normal_url(one) != normal_url(other)


def test_other_text_and_broken_addresses_stay():
    for text in ("Abc/", "httpx", "http://ci:port/a", "http:/one"):
        assert normal_url(text) == text


def test_values_are_those_that_can_be_compared():
    assert as_values(None) == as_values({}) == as_values([]) == as_values(True) == as_values("  ") == []
    assert as_values(["a", "a", 2, None, ["b"], {"c": 1}, "http://H/"]) == ["a", "2", "http://h"]
    (long,) = as_values("x" * 2000)
    assert len(long) == 128
    assert as_values(["x" * 2000, "y" * 2000])[0] == long
    assert len(as_values([str(n) for n in range(1000)])) == 100
