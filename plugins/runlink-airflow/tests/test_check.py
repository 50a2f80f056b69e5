"""Credentials, tokens and what `check` tells an operator."""

import httpx
import pytest

from runlink.spi import ConfigRejected, CredentialsRejected, TransientError


def test_check(airflow, adapter):
    info = adapter.check()
    assert (info.product, info.version, info.warnings) == ("Apache Airflow", "3.3.2", ())


def test_one_token_for_all_requests(airflow, make_host):
    host = make_host()
    for number in (1, 5, 14):
        airflow.at(number)
        host.turn()
    assert airflow.tokens == 1


@pytest.mark.parametrize("name", ["148", "004"])
def test_a_token_that_is_no_more_is_renewed(name, airflow, make_host, recorded):
    """401 once it has run out; 403 with these words when the engine was given another secret."""
    host = make_host()
    airflow.at(1)
    host.turn()
    answer = recorded(name)["response"]
    used_up = {"Bearer token-1"}
    airflow.faults = lambda request: (
        httpx.Response(answer["status"], json=answer["json"])
        if request.headers.get("authorization") in used_up
        else None
    )
    airflow.at(9)
    host.turn()
    assert airflow.tokens == 2
    assert any(row["native_status"] == "failed" for row in host.table().values())


def test_a_token_that_is_refused_at_once_is_not_renewed_for_ever(airflow, adapter):
    airflow.faults = lambda request: (
        httpx.Response(401, json={"detail": "Token Expired"}) if request.url.path != "/auth/token" else None
    )
    with pytest.raises(CredentialsRejected):
        adapter.check()
    assert airflow.tokens == 1
    with pytest.raises(CredentialsRejected):
        adapter.check()
    assert airflow.tokens == 2


def test_wrong_credentials(airflow, make_adapter):
    with pytest.raises(CredentialsRejected) as caught:
        make_adapter(config={"user": "runlink", "password": "wrong-s3cret"}).check()
    assert "wrong-s3cret" not in str(caught.value)
    assert "`user` and `password`" in str(caught.value)


def test_a_token_given_is_used_as_it_is(airflow, make_adapter):
    airflow.valid = {"given"}
    make_adapter(config={"token": "given"}).check()
    assert airflow.tokens == 0
    airflow.valid = set()
    with pytest.raises(CredentialsRejected):
        make_adapter(config={"token": "given"}).check()
    assert airflow.tokens == 0


def test_without_a_user_everybody_is_an_administrator(airflow, make_adapter):
    """`simple_auth_manager_all_admins`: GET /auth/token."""
    make_adapter(config={}).check()
    assert airflow.requests[0].method == "GET"


def test_airflow_2_and_wrong_addresses(airflow, adapter):
    airflow.faults = lambda _: httpx.Response(404, text="<html>")
    with pytest.raises(ConfigRejected, match="Airflow 3"):
        adapter.check()


def test_a_starting_server_is_waited_for(airflow, adapter):
    airflow.faults = lambda _: httpx.Response(503, text="starting")
    with pytest.raises(TransientError):
        adapter.check()


def test_a_login_page_is_no_answer(airflow, adapter):
    airflow.faults = lambda request: httpx.Response(200, html="<html>") if request.url.path.startswith("/api") else None
    with pytest.raises(TransientError, match="not JSON"):
        adapter.check()
    airflow.faults = lambda request: (
        httpx.Response(302, headers={"location": "/login"}) if request.url.path.startswith("/api") else None
    )
    with pytest.raises(TransientError, match="redirects"):
        adapter.check()


def test_check_warns(airflow, adapter, recorded):
    def fault(request):
        if request.url.path.endswith("/version"):
            return httpx.Response(200, json={"version": "4.0.0"})
        if request.url.path.endswith("/health"):
            return httpx.Response(200, json={"scheduler": {"status": "unhealthy"}})
        if request.url.path.endswith("/eventLogs"):
            return httpx.Response(403, json={"detail": "Forbidden"})
        return None

    airflow.faults = fault
    assert [warning.split(":")[0] for warning in adapter.check().warnings] == [
        "the scheduler gives no sign of life",
        "Airflow 4.0.0 was never tried with this plugin; 3.3.2 is known to work",
        "the user may not read the audit log",
    ]


def test_no_secret_in_what_is_told(airflow, make_host):
    host = make_host()
    airflow.at(14)
    pages = list(host.adapter.poll({}))
    assert "s3cret-word" not in repr(pages)
    assert "token-1" not in repr(pages)
