"""Environment variables over the file."""

from __future__ import annotations

import pytest

from runlink.application.settings import Secret
from runlink.config import ConfigError, load, variable_name

TEXT = """
[store]
url = "sqlite:///a.db"
[engines.jenkins-prod]
type = "jenkins"
url = "https://jenkins.test"
my-key = 1
[engines.twin-a]
type = "x"
url = "http://x"
[engines."twin.a"]
type = "x"
url = "http://x"
[[links]]
inherit = "parent"
"""


@pytest.fixture
def read(tmp_path):
    def do(**environ):
        path = tmp_path / "runlink.toml"
        path.write_text(TEXT)
        return load(path, environ)

    return do


def problem(read, **environ):
    with pytest.raises(ConfigError) as caught:
        read(**environ)
    [line] = caught.value.problems
    return line


def test_a_variable_sets_a_key_of_the_engine_whose_name_it_spells(read):
    settings = read(
        RUNLINK_ENGINES__JENKINS_PROD__POLL_INTERVAL_S="30",
        RUNLINK_ENGINES__JENKINS_PROD__URL="http://other.test",
        RUNLINK_ENGINES__JENKINS_PROD__INCLUDE='["a", "b"]',
        RUNLINK_ENGINES__JENKINS_PROD__TOKEN__ENV="T",
        RUNLINK_ENGINES__JENKINS_PROD__KEY='{ file = "/k" }',
        RUNLINK_ENGINES__JENKINS_PROD__MY_KEY="2",
        RUNLINK_ENGINES__JENKINS_PROD__USER='"123"',
        RUNLINK_ENGINES__JENKINS_PROD__TEXT="1\nother = 2",
    )
    engine = settings.engines["jenkins-prod"]
    assert (engine.poll_interval_s, engine.url, engine.include) == (30.0, "http://other.test", ("a", "b"))
    assert engine.options["token"] == Secret(env="T")
    assert str(engine.options["key"].file) == "/k"
    assert engine.options["my-key"] == 2
    assert engine.options["user"] == "123"
    assert engine.options["text"] == "1\nother = 2"


def test_sections_and_links_can_be_overridden(read):
    settings = read(
        RUNLINK_STORE__URL="postgresql://me@db/x",
        RUNLINK_STORE__PASSWORD__ENV="P",
        RUNLINK_RETENTION__OUTBOX_DAYS="7",
        RUNLINK_PLUGINS__DISABLED='["acme"]',
        RUNLINK_LINKS__0__WORKFLOW="w",
    )
    assert settings.store_url == "postgresql://me@db/x"
    assert settings.store_password == Secret(env="P")
    assert settings.retention.outbox_days == 7.0
    assert settings.disabled_plugins == {"acme"}
    assert settings.links[0].workflow == "w"


def test_other_variables_are_none_of_it(read):
    read(RUNLINK_CONFIG="x", RUNLINK_STRICT_PLUGINS="1", RUNLINK_DISABLE_PLUGIN_AUTOLOAD="1", XRUNLINK_A__B="1")


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("RUNLINK_ENGINES__JENKINS_PRD__URL", "no engine of the file has this name; did you mean RUNLINK_ENGINES__J"),
        ("RUNLINK_ENGINES__ZZZ__URL", "no engine of the file has this name; names are"),
        ("RUNLINK_ENGINES__TWIN_A__URL", "may mean each of the engines twin-a, twin.a; rename one of them"),
        ("RUNLINK_ENGINES__JENKINS_PROD__", "names no key"),
        ("RUNLINK_STOR__URL", "there is no section [stor]; did you mean 'store'?"),
        ("RUNLINK_STORE__URI", "there is no key store.uri; did you mean 'url'?"),
        ("RUNLINK_LINKS__1__WORKFLOW", "there is no such link; write RUNLINK_LINKS__N__KEY with N from 0 to 0"),
        ("RUNLINK_LINKS__0__WORKFLOE", "there is no key links[0].workfloe; did you mean 'workflow'?"),
        ("RUNLINK_STORE__URL__DEEPER", "store.url is no table, so it has no key 'deeper'"),
    ],
)  # fmt: skip
def test_a_variable_that_addresses_nothing_is_refused(read, variable, says):
    line = problem(read, **{variable: "1"})
    assert line.startswith(f"{variable}: {says}")


def test_engines_that_cannot_be_told_apart_matter_only_when_addressed(read):
    assert len(read().engines) == 3


def test_a_problem_names_the_variable_it_came_from(read):
    assert problem(read, RUNLINK_ENGINES__JENKINS_PROD__POLL_INTERVAL_S="soon") == (
        "engines.jenkins-prod.poll_interval_s: 'soon' is not a number "
        "(set by RUNLINK_ENGINES__JENKINS_PROD__POLL_INTERVAL_S)"
    )
    line = problem(read, RUNLINK_STORE__URL="postgresql://me@db/x", RUNLINK_STORE__PASSWORD="hunter2")
    assert line.endswith("(set by RUNLINK_STORE__PASSWORD)")
    assert "hunter2" not in line


def test_the_name_of_a_variable_can_be_asked_for():
    assert variable_name("engines", "jenkins-prod", "url") == "RUNLINK_ENGINES__JENKINS_PROD__URL"
