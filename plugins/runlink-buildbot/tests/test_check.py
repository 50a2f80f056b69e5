"""Credentials, and what `check` tells an operator."""

import httpx
import pytest

from runlink.spi import ConfigRejected, CredentialsRejected


def test_basic_credentials_and_buildbots_own_login(master, make_host):
    master.at(13)
    host = make_host(config={"user": "runlink", "password": "s3cret"})

    def protected(request):
        assert request.headers["authorization"].startswith("Basic ")
        if request.url.path == "/auth/login":
            return httpx.Response(302, headers={"location": "/", "set-cookie": "TWISTED_SESSION=abc; Path=/"})
        return None if "TWISTED_SESSION=abc" in request.headers.get("cookie", "") else httpx.Response(403)

    master.faults = protected
    host.turn()
    assert len(host.table()) == 7
    assert master.paths().count("/auth/login") == 1


def test_wrong_credentials(master, make_adapter):
    master.faults = lambda _: httpx.Response(401)
    with pytest.raises(CredentialsRejected) as caught:
        make_adapter(config={"user": "runlink", "password": "s3cret"}).check()
    assert "s3cret" not in str(caught.value)


def test_check(master, adapter):
    info = adapter.check()
    assert (info.product, info.version, info.warnings) == ("Buildbot", "4.3.0", ())


def test_check_warns_of_sleeping_masters_and_untried_versions(master, adapter):
    master.tables["masters"] = [row | {"active": False} for row in master.tables["masters"]]
    master.faults = lambda request: (
        httpx.Response(200, json={"versions": [["Buildbot", "2.10.5"]]}) if request.url.path == "/config" else None
    )
    assert [warning.split(":")[0] for warning in adapter.check().warnings] == [
        "no master is active",
        "Buildbot 2.10.5 was never tried with this plugin; 4.3.0 is known to work",
    ]


def test_check_without_the_version(master, adapter):
    master.faults = lambda request: httpx.Response(404) if request.url.path == "/config" else None
    assert adapter.check().version == "unknown"


def test_check_at_a_wrong_address(master, adapter):
    master.faults = lambda _: httpx.Response(404, content=b"<html>")
    with pytest.raises(ConfigRejected, match="url"):
        adapter.check()
