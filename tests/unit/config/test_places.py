"""A problem is said with the line of the file where its key stands."""

from __future__ import annotations

import pytest

from runlink.config import ConfigError
from runlink.config.places import lines_of

FILE = '''\
# first
[store]
url = "sqlite:///x.db"

[engines."a b"]
include = [
  "one",   # not [[links]]
  "two",
]
note = """
[[links]]
"""
retry.after_s = 3

[[links]]
name = "a"
parent = { match = "x", with = "y" }
[[links]]
  [links.create_run]
  created_by = "z"
[[links]]
name = "c"
'''


def test_each_key_has_the_line_where_it_is_first_written():
    lines = lines_of(FILE)
    assert {path: lines[path] for path in (
        "store", "store.url", 'engines."a b"', 'engines."a b".include[1]', 'engines."a b".note',
        'engines."a b".retry.after_s', "links[0]", "links[0].parent.with", "links[1]", "links[1].create_run.created_by",
        "links[2].name",
    )} == {
        "store": 2, "store.url": 3, 'engines."a b"': 5, 'engines."a b".include[1]': 6, 'engines."a b".note': 10,
        'engines."a b".retry.after_s': 13, "links[0]": 15, "links[0].parent.with": 17, "links[1]": 18,
        "links[1].create_run.created_by": 20, "links[2].name": 22,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "a = ", "[", "[[x]]\n[[x]]\ny =", '"""', "x = 1\nx = 2\n"])
def test_what_is_no_toml_has_no_places_and_does_no_harm(text):
    assert set(lines_of(text)) <= {"x[0]", "x[1]", "x"}


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ("links[2].run_key[1]: 'a..b' is not JMESPath", "line 21: links[2].run_key[1]: 'a..b' is not JMESPath"),
        ("links[0].name: is taken", "line 16: links[0].name: is taken"),
        ('engines."a b".url: is missing', 'line 5: engines."a b".url: is missing'),
        ("store.url: is odd (set by RUNLINK_STORE__URL)", "store.url: is odd (set by RUNLINK_STORE__URL)"),
        ("server.listen: is missing", "server.listen: is missing"),
        ("there is no such file", "there is no such file"),
    ],
)
def test_a_problem_is_said_with_its_line(tmp_path, problem, said):
    (tmp_path / "runlink.toml").write_text(FILE)
    error = ConfigError([problem], str(tmp_path / "runlink.toml"))
    assert str(error).splitlines()[1] == f"  {said}"
    assert error.problems == (problem,)
