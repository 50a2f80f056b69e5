"""Link rules in the file: everything they can say, and what is refused, with its place."""

from __future__ import annotations

import pytest

from runlink.application.settings import KeyHook, KeyTemplate, LinkRule, NewRun, ParentRule
from runlink.config import ConfigError, load

A, B = ('automation = "a"\nrun_key = "parameters.X"\n', 'automation = "b"\nrun_key = "parameters.X"\n')
TWO = (
    "links[1].automation: 'b' is the second automation for the workflow {}; links[0] gives it to 'a': write stop = true"
)


@pytest.fixture
def rules(tmp_path):
    """The rules of a file, or the problems with it."""

    def read(text):
        path = tmp_path / "runlink.toml"
        path.write_text(text)
        try:
            return load(path, {}).links
        except ConfigError as error:
            return list(error.problems)

    return read


def test_everything_a_rule_can_say(rules):
    assert rules(
        """
        [[links]]
        name = "n"
        engine = ["ci", "j-*"]
        type = ["Jenkins", "BUILDBOT"]
        workflow = "w"
        labels = { team = "data-*", "a/b" = ["x", "y"] }
        attempt = "later"
        automation = "a"
        run_key = ["parameters.RUN_ID", { template = "{workflow}-{labels.team}" }, { plugin = "acme" }]
        within_s = 3600
        create_run = { correlation_id = "x-{key}", created_by = "{parameters.USER}" }
        inherit = "parent"
        parent = { engine = "ci", type = ["Jenkins"], workflow = "w", match = "parameters.URL", with = "url" }
        stop = true
        [[links]]
        parent = { match = "labels.id" }
        """
    ) == (
        LinkRule(
            name="n",
            engine=("ci", "j-*"),
            type=("jenkins", "buildbot"),
            workflow="w",
            labels={"team": "data-*", "a/b": ("x", "y")},
            attempt="later",
            automation="a",
            run_key=(
                "parameters.RUN_ID",
                KeyTemplate(template="{workflow}-{labels.team}"),
                KeyHook(plugin="acme"),
            ),
            within_s=3600,
            create_run=NewRun(correlation_id="x-{key}", created_by="{parameters.USER}"),
            inherit="parent",
            parent=ParentRule(match="parameters.URL", other="url", engine="ci", type=("jenkins",), workflow="w"),
            stop=True,
        ),
        LinkRule(name="links[1]", parent=ParentRule(match="labels.id")),
    )


@pytest.mark.parametrize(
    ("link", "says"),
    [
        ('automation = "a"\nparent = { match = "url" }\nwithin_s = 5', "links[0].within_s: needs a run_key"),
        ('run_key = "url"\nparent = { match = "url" }', "links[0].automation: is missing"),
        (A + "engine = []", "links[0].engine: [] is neither a pattern nor a list of patterns"),
        (A + 'labels = { team = "" }', "links[0].labels.team: '' is neither"),
        (A + 'labels = "x"', "links[0].labels: 'x' is not a table"),
        (A + 'attempt = "last"', "links[0].attempt: 'last' is not one of 'any', 'first', 'later'"),
        (A + "within_s = -1", "links[0].within_s: -1 is less than 0"),
        ('automation = "  "\nrun_key = "url"', "links[0].automation: is empty"),
        ('automation = "a\\u0000"\nrun_key = "url"', "links[0].automation: 'a\\x00' has a character U+0000"),
        (A + 'name = "n\\u0000"', "links[0].name: 'n\\x00' has a character U+0000"),
        ('automation = "a"\nrun_key = "\'abc\'"', "links[0].run_key: \"'abc'\" is the same for every instance"),
        ('automation = "a"\nrun_key = "' + "[" * 3000 + '"', "links[0].run_key: '[[["),
        (A + "within_s = inf", "links[0].within_s: inf is "),
        (A + 'stop = "yes"', "links[0].stop: 'yes' is not true or false"),
        (A + "parent = {}", "links[0].parent.match: is missing"),
        (A + 'parent = { match = "url", wiht = "url" }', "links[0].parent.wiht: unknown key; did you mean 'with'?"),
        (
            A + 'parent = { match = "url", with = "a..b" }',
            "links[0].parent.with: 'a..b' is not JMESPath at character 3",
        ),
        (A + 'parent = { match = "upper(url)" }', "links[0].parent.match: 'upper(url)' calls upper()"),
        (A + 'create_run = { correlation = "x" }', "links[0].create_run: {'correlation': 'x'} is neither"),
        (A + "create_run = {}", "links[0].create_run: {} is neither"),
        (A + 'create_run = { correlation_id = "x" }', "links[0].create_run.correlation_id: 'x' is the same for every"),
        (A + 'create_run = { created_by = "{a" }', "links[0].create_run.created_by: '{a' has a single '{'"),
        ('automation = "a"\nrun_key = []', "links[0].run_key: [] is no way to a key"),
        ('automation = "a"\nrun_key = { templat = "x" }', "links[0].run_key: {'templat': 'x'} is no way to a key"),
        ('automation = "a"\nrun_key = ["url", "a..b"]', "links[0].run_key[1]: 'a..b' is not JMESPath at character 3"),
        ('automation = "a"\nrun_key = "sort(url, url)"', "links[0].run_key: 'sort(url, url)' calls sort() with 2"),
        ('automation = "a"\nrun_key = { template = "{a..b}" }', "links[0].run_key.template: 'a..b' is not JMESPath"),
        ('automation = "a"\nrun_key = [{ template = "x" }]', "links[0].run_key[0].template: 'x' is the same"),
        (
            A + "labels = 5\nattempt = []\nengine = 5\n[[links]]\n" + B + "name = []",
            "links[0].attempt: [] is not one of",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(rules, link, says):
    problems = rules(f"[[links]]\n{link}\n")
    assert isinstance(problems, list)
    assert any(line.startswith(says) for line in problems), problems


@pytest.mark.parametrize(
    ("one", "other", "workflow"),
    [
        ("", "", "'*'"),
        ('workflow = "w"', 'workflow = ["v", "w"]', "'w'"),
        ('workflow = "w"\nengine = ["x", "y"]', 'workflow = "w"\nengine = "y"', "'w'"),
        ('labels = { a = "b" }', 'labels = { a = "b" }', "'*'"),
        ('attempt = "first"', 'attempt = "any"', "'*'"),
    ],
)
def test_two_automations_for_one_pattern_are_refused_with_both_places(rules, one, other, workflow):
    text = f"[[links]]\n{A}{one}\n{{}}\n[[links]]\n{B}{other}\n"
    (problem,) = rules(text.replace("{}", ""))
    assert problem.startswith(TWO.format(workflow)), problem
    for said in ("stop = true", "stop = false"):
        assert isinstance(rules(text.replace("{}", said)), tuple)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('workflow = "w"', ""),
        ('workflow = "a*"', 'workflow = "*b"'),
        ('engine = "x"', 'engine = "y"'),
        ('type = "x"', 'type = "y"'),
        ('labels = { a = "b" }', 'labels = { a = "c" }'),
        ('labels = { a = "b" }', ""),
        ('attempt = "first"', 'attempt = "later"'),
    ],
)
def test_what_differs_as_written_is_two_patterns(rules, one, other):
    assert isinstance(rules(f"[[links]]\n{A}{one}\n[[links]]\n{B}{other}\n"), tuple)


def test_one_automation_may_be_named_by_as_many_rules_as_one_likes(rules):
    assert isinstance(rules(f"[[links]]\n{A}[[links]]\n{A}[[links]]\ninherit = 'parent'\n"), tuple)
