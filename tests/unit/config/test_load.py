"""From TOML and environment to settings, and every way in which it may be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from runlink.application.policy import Policy
from runlink.application.settings import EngineSettings, LinkRule, Retention, Secret
from runlink.config import ConfigError, load

ENGINE = '[engines.jenkins-prod]\ntype = "Jenkins"\nurl = "https://jenkins.test/base/"\n'


@pytest.fixture
def read(tmp_path):
    """Writes a configuration and loads it."""

    def do(text, **environ):
        path = tmp_path / "runlink.toml"
        path.write_text(text, "utf-8")
        return load(path, environ)

    return do


@pytest.fixture
def problems(read):
    """Writes a configuration and returns what is wrong with it."""

    def do(text, **environ):
        with pytest.raises(ConfigError) as caught:
            read(text, **environ)
        assert all(problem in str(caught.value) for problem in caught.value.problems)
        return list(caught.value.problems)

    return do


def test_an_empty_file_is_a_configuration(read, tmp_path):
    settings = read("")
    assert settings.store_url == f"sqlite:///{tmp_path}/runlink.db"
    assert (settings.engines, settings.links, settings.retention) == ({}, (), Retention())
    assert settings.path == tmp_path / "runlink.toml"


def test_every_key_is_read(read, tmp_path):
    settings = read("""
        [store]
        url = "postgresql://me@db/runlink"
        password = { file = "db.password" }
        [engines.Jenkins_1]
        type = " Jenkins "
        url = "https://jenkins.test/base/"
        include = ["a/*"]
        exclude = ["a/b"]
        poll_interval_s = 20
        poll_deadline_s = 60
        request_timeout_s = 5.5
        lookback_s = 86400
        max_requests_per_minute = 60
        max_metadata_bytes = 2048
        verify_tls = "ca.pem"
        renamed_from = "old"
        user = "me"
        token = { env = "TOKEN" }
        deep = { keys = [{ file = "/abs" }] }
        [[links]]
        name = "n"
        engine = "j*"
        workflow = "w"
        automation = "a"
        run_key = "parameters.RUN_ID"
        create_run = true
        [[links]]
        inherit = "parent"
        [automations.a]
        expected = ["w"]
        on_failure = "fail-fast"
        silent_after_s = 60
        [automations."b c"]
        quiet_s = 5
        [retention]
        observations_days = 1
        outbox_days = 2
        quarantine_days = 3
        [plugins]
        disabled = ["Acme"]
        """)
    assert (settings.store_url, settings.store_password) == (
        "postgresql://me@db/runlink",
        Secret(file=tmp_path / "db.password"),
    )
    assert settings.engines == {
        "Jenkins_1": EngineSettings(
            name="Jenkins_1",
            type="jenkins",
            url="https://jenkins.test/base",
            options={"user": "me", "token": Secret(env="TOKEN"), "deep": {"keys": [Secret(file=Path("/abs"))]}},
            include=("a/*",),
            exclude=("a/b",),
            poll_interval_s=20.0,
            poll_deadline_s=60.0,
            request_timeout_s=5.5,
            lookback_s=86400.0,
            max_requests_per_minute=60,
            max_metadata_bytes=2048,
            verify_tls=tmp_path / "ca.pem",
            renamed_from="old",
        )
    }
    assert settings.links == (
        LinkRule(
            name="n", engine="j*", workflow="w", automation="a", run_key="parameters.RUN_ID", create_run=True,
        ),
        LinkRule(name="links[1]", inherit="parent"),
    )  # fmt: skip
    assert settings.automations == {
        "a": Policy(expected=("w",), on_failure="fail-fast", silent_after_s=60),
        "b c": Policy(quiet_s=5),
    }
    assert settings.retention == Retention(observations_days=1, outbox_days=2, quarantine_days=3)
    assert settings.disabled_plugins == {"acme"}


def test_every_problem_is_told_at_once(problems):
    assert problems("""
        [stor]
        [engines.jenkins-prod]
        type = "jenkins"
        poll_interval_s = "soon"
        request_timeout_s = 0
        include = "all"
        verify_tls = ""
        [engines."no good"]
        type = "x"
        url = "http://x"
        [[links]]
        run_kye = "id"
        [retention]
        outbox_days = -1
        """) == [
        "engines.jenkins-prod.include: 'all' is not a list",
        "engines.jenkins-prod.poll_interval_s: 'soon' is not a number",
        "engines.jenkins-prod.request_timeout_s: 0 is less than 0.1",
        "engines.jenkins-prod.url: is missing",
        "engines.jenkins-prod.verify_tls: is empty",
        (
            "engines: 'no good' cannot be an engine's name; use letters, digits, '.', '_' and '-', "
            "and begin with a letter or digit"
        ),
        "links[0].run_kye: unknown key; did you mean 'run_key'?",
        "retention.outbox_days: -1 is less than 0.01",
        "stor: unknown key; did you mean 'store'?",
        'links[0].automation: is missing; name the Automation, or write inherit = "parent"',
        'links[0].run_key: is missing; say where a Run\'s id is found, or write inherit = "parent"',
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[store\n", "line 1, column 7: "),
        ("a = 1\nb = = 2\n", "line 2, column 5: Invalid value"),
        ('a = 1\nb = "', "line 2, column 6: Unterminated string, at the end of the file"),
    ],
)
def test_a_syntax_error_tells_line_and_column(problems, text, says):
    [line] = problems(text)
    assert line.startswith(says)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml has a problem:\n  there is no such file"):
        load(tmp_path / "none.toml", {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, {})
    (tmp_path / "latin").write_bytes(b"# caf\xe9")
    with pytest.raises(ConfigError, match=r"not UTF-8 text \(byte 5\)"):
        load(tmp_path / "latin", {})


def test_the_environment_names_the_file(tmp_path, monkeypatch):
    (tmp_path / "other.toml").write_text(ENGINE)
    assert "jenkins-prod" in load(None, {"RUNLINK_CONFIG": str(tmp_path / "other.toml")}).engines
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"runlink\.toml"):
        load(None, {})


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://joe:hunter2@jenkins.test", "holds a user or password"),
        ("https://hunter2@jenkins.test/", "holds a user or password"),
        ("hunter2", "is not an address such as https://"),
        ("ftp://hunter2", "is not an address such as https://"),
        ("https://", "is not an address such as https://"),
        ("https://jenkins.test?token=hunter2", "has a query or fragment"),
        ("https://[hunter2", "is not a valid address"),
        ("https://h:hunter2", "is not a valid address"),
    ],
)
def test_an_unfit_address_is_refused_and_not_repeated(problems, url, says):
    [line] = problems(f'[engines.e]\ntype = "x"\nurl = "{url}"\n')
    assert line.startswith(f"engines.e.url: {says}")
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("store", "says"),
    [
        ('url = "postgresql://me:hunter2@db/runlink"', "store.url: holds a password"),
        ('url = "postgresql://me@db/runlink?password=hunter2"', "store.url: holds a password"),
        ('url = "postgresql://db"', "store.url: names no database"),
        ('url = "postgres://db/x"', "store.url: begins with postgres://; write postgresql://"),
        ('url = "mysql://me:hunter2@db/x"', "store.url: is no database runlink can use"),
        ('url = "sqlite://runlink.db"', "store.url: names no file"),
        ('url = "sqlite:///"', "store.url: names no file"),
        ('url = "sqlite:///:memory:"', "store.url: names no file"),
        ('url = "postgresql://db:hunter2/x"', "store.url: is not a valid address"),
        ('password = "hunter2"', "store.password: is a secret and may not stand in the file"),
        ('password = { env = "P" }', "store.password: SQLite has no password"),
    ],
)
def test_an_unfit_store_is_refused_and_no_password_repeated(problems, store, says):
    found = problems(f"[store]\n{store}\n")
    assert found[0].startswith(says)
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(
    ("url", "path"),
    [("sqlite:///a/b.db", "{folder}/a/b.db"), ("sqlite:////var/b.db", "/var/b.db")],
)
def test_a_sqlite_path_is_relative_to_the_file(read, tmp_path, url, path):
    assert read(f'[store]\nurl = "{url}"').store_url == "sqlite:///" + path.format(folder=tmp_path)


@pytest.mark.parametrize(
    ("link", "says"),
    [
        ('automation = "a"', "links[0].run_key: is missing"),
        ('run_key = "id"', "links[0].automation: is missing"),
        ('automation = "a"\nrun_key = "parameters."', "links[0].run_key: 'parameters.' is not JMESPath at "),
        ('automation = "a"\nrun_key = "a b"', "links[0].run_key: 'a b' is not JMESPath at character 3: "),
        ('automation = "a"\nrun_key = "\'open"', 'links[0].run_key: "\'open" is not JMESPath'),
        ('inherit = "child"', "links[0].inherit: 'child' is not one of 'parent'"),
        ('inherit = "parent"\ncreate_run = true', "links[0].create_run: needs"),
        (
            'inherit = "parent"\nname = "n"\n[[links]]\ninherit = "parent"\nname = "n"',
            "links[1].name: 'n' is the name of",
        ),
    ],
)
def test_an_unfit_link_is_refused(problems, link, says):
    assert any(line.startswith(says) for line in problems(f"[[links]]\n{link}\n"))


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("quiet_s = nan", "automations.a.quiet_s: nan is not a number that can be used"),
        ("quite_s = 1", "automations.a.quite_s: unknown key; did you mean 'quiet_s'?"),
        ('on_failure = "fast"', "automations.a.on_failure: 'fast' is not one of 'wait', 'fail-fast'"),
        ('expected = ["a"]\nquiet_s = 1', "automations.a.quiet_s: has no effect beside expected"),
        ('complete = "by-hand"\nquiet_s = 1', 'automations.a.quiet_s: has no effect with complete = "by-hand"'),
        ('failed_by = "any"\nretry_grace_s = 1', 'automations.a.retry_grace_s: has no effect with failed_by = "any"'),
        ('on_failure = "fail-fast"\nretry_grace_s = 1', "automations.a.retry_grace_s: has no effect with on_failure"),
        ('[automations." a"]', 'automations." a": is the same automation as automations.a'),
        ('[automations." "]', "automations: an automation's name must not be blank"),
    ],
)
def test_an_unfit_policy_is_refused(problems, policy, says):
    found = problems(f"[automations.a]\n{policy}\n")
    assert any(line.startswith(says) for line in found), found


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ('token = { env = "A", file = "b" }', "engines.jenkins-prod.token: names both env and file"),
        ("token = { env = 5 }", "engines.jenkins-prod.token.env: is not the name of a variable"),
        ('deep = [{ file = "" }]', "engines.jenkins-prod.deep[0].file: is not the name of a variable"),
        ("lookback_s = inf", "engines.jenkins-prod.lookback_s: inf is "),
        ('renamed_from = "jenkins-prod"', "engines.jenkins-prod.renamed_from: 'jenkins-prod' is still the name"),
        ('type = ""', None),
    ],
)
def test_an_unfit_engine_key_is_refused(problems, option, says):
    if says is None:
        assert problems('[engines.e]\nurl = "http://h"\ntype = " "\n') == [
            "engines.e.type: ' ' is not the name of an engine type"
        ]
    else:
        assert problems(ENGINE + option)[0].startswith(says)


def test_an_engine_can_have_become_one_other_only(problems):
    table = '[engines.{}]\ntype = "x"\nurl = "http://h"\nrenamed_from = "old"\n'
    assert problems(table.format("a") + table.format("b")) == [
        "engines.b.renamed_from: 'old' became 'a' already; only one engine can have been it"
    ]


def test_wrong_shapes_are_problems_and_no_crash(problems):
    assert problems("store = 1\nengines = []\nlinks = {}\nretention = []\nplugins = 'x'\n") == [
        "engines: [] is not a table",
        "links: {} is not a list",
        "plugins: 'x' is not a table",
        "retention: [] is not a table",
        "store: 1 is not a table",
    ]
    assert problems("links = [1]\n[engines]\na = 5\n") == ["engines.a: 5 is not a table", "links[0]: 1 is not a table"]
