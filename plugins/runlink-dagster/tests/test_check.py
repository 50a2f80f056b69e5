"""Credentials, and what `check` tells an operator."""

import httpx
import jsonschema
import pytest
from fake_dagster import recording

from runlink.spi import ConfigRejected, CredentialsRejected, TransientError
from runlink_dagster import DagsterAdapter


def test_check(engine, adapter):
    info = adapter.check()
    assert (info.product, info.version, info.warnings) == ("Dagster", "1.13.28", ())


def test_check_warns_of_daemons_that_do_not_run_and_of_untried_versions(engine, adapter):
    engine.version = "2.0.0"
    engine.daemons = [one | {"healthy": one["daemonType"] != "QUEUED_RUN_COORDINATOR"} for one in engine.daemons]
    assert [warning.split(":")[0] for warning in adapter.check().warnings] == [
        "Dagster 2.0.0 was never tried with this plugin; 1.13 is known to work",
        "no daemon does QUEUED_RUN_COORDINATOR",
    ]


def test_who_may_not_see_the_daemons_is_not_warned_of_them(engine, adapter):
    engine.faults = lambda request: (
        httpx.Response(200, json={"data": {"instance": None}}) if b"RunlinkDaemons" in request.content else None
    )
    assert adapter.check().warnings == ()


def test_check_at_a_wrong_address(engine, make_adapter):
    with pytest.raises(ConfigRejected, match="url"):
        make_adapter(url="http://dagster.test/nope").check()


def test_a_sign_in_page_is_no_wrong_address(engine, adapter):
    response = recording("002")["response"]
    engine.faults = lambda _: httpx.Response(200, headers=response["headers"], text=response["text"])
    with pytest.raises(TransientError):
        adapter.check()


def test_a_path_prefix(engine, make_adapter):
    engine.prefix = "/data/dagster"
    assert make_adapter(url="http://dagster.test/data/dagster").check().version == "1.13.28"


@pytest.mark.parametrize(
    ("config", "header", "value"),
    [
        ({"user": "runlink", "password": "s3cret"}, "authorization", "Basic cnVubGluazpzM2NyZXQ="),
        ({"token": "s3cret"}, "authorization", "Bearer s3cret"),
        ({"token": "s3cret", "token_header": "Dagster-Cloud-Api-Token"}, "dagster-cloud-api-token", "s3cret"),
    ],
)
def test_credentials(config, header, value, engine, make_adapter):
    sent = []
    engine.faults = lambda request: sent.append(request.headers[header])
    make_adapter(config=config).check()
    assert set(sent) == {value}


def test_wrong_credentials(engine, make_adapter):
    engine.faults = lambda _: httpx.Response(401)
    with pytest.raises(CredentialsRejected) as caught:
        make_adapter(config={"token": "s3cret"}).check()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        {"user": "a"},
        {"password": "a"},
        {"user": "a", "password": "b", "token": "c"},
        {"token_header": "X"},
        {"token": "c", "token_header": "X Y"},
        {"graphql": True},
    ],
)
def test_configurations_that_make_no_sense(config):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, DagsterAdapter.config_schema)
