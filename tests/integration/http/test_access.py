"""Who gets in, and who does not: tokens, roles, sessions, forged writes, rebound names, proxies."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.integration.http.conftest import problem

from runlink.application.access import revoke_token
from runlink.application.settings import ServerSettings
from runlink.http.guard import Buckets
from runlink.http.identity import is_local

RUNS = "/api/v1/runs"


def revoke(served, name):
    served.store.write(lambda uow: revoke_token(uow, name, now=served.clock()), actor="cli:test")


@pytest.mark.parametrize(
    ("authorization", "says"),
    [
        ("Bearer rl_unknown", "not known"),
        ("Bearer", "not of the form"),
        ("Basic YTpi", "not of the form"),
        ("rl_unknown", "not of the form"),
    ],
)
def test_a_wrong_credential_is_refused_even_where_none_is_needed(served, authorization, says):
    answer = served.client().get(RUNS, headers={"Authorization": authorization})
    assert says in problem(answer, "unauthenticated")["detail"]
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_token_opens_until_it_is_revoked_or_expires(served):
    text = served.token("ci", ("read",), expires_at=served.clock() + timedelta(hours=1))
    client = served.client(text)
    assert client.get(RUNS).status_code == 200
    served.clock.now += timedelta(hours=1)
    problem(client.get(RUNS), "unauthenticated")
    revoke(served, "viewer")
    problem(served.client("viewer").get(RUNS), "unauthenticated")


def test_roles_reach_as_far_as_their_scopes(served, record):
    start = f"{RUNS}/{record.run.id}/start"
    problem(served.client("viewer").post(start), "forbidden")
    problem(served.client("operator").get("/api/v1/audit"), "forbidden")
    assert served.client("operator").post(start).status_code == 200
    hooks = served.client(served.token("jenkins", ("hooks",)))
    problem(hooks.get(RUNS), "forbidden")


def test_on_loopback_reading_is_free_and_writing_is_not(served, record):
    anyone = served.client()
    assert anyone.get(RUNS).status_code == 200
    problem(anyone.post(f"{RUNS}/{record.run.id}/start"), "unauthenticated")
    problem(anyone.get("/api/v1/audit"), "unauthenticated")
    assert anyone.get("/api/v1/session").json() == {
        "name": None,
        "role": "viewer",
        "scopes": ["read"],
        "csrf_token": None,
    }


def test_nothing_is_free_where_it_is_so_required(serve):
    served = serve(auth="required")
    for path in (RUNS, "/metrics", "/api/v1/stream", "/api/v1/session"):
        problem(served.client().get(path), "unauthenticated")
    for path in ("/health/live", "/health/ready", "/login", "/docs", "/openapi.json"):
        assert served.client().get(path).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Via"])
def test_whoever_comes_through_a_proxy_is_not_at_this_machine(served, header):
    problem(served.client().get(RUNS, headers={header: "127.0.0.1"}), "unauthenticated")


@pytest.mark.parametrize(
    "settings",
    [
        {"auth": "required"},
        {"public_url": "https://runlink.example.org"},
        {"trusted_proxies": ("127.0.0.1",)},
        {"listen": "0.0.0.0:8765"},
    ],
)
def test_what_others_can_reach_is_never_local(settings):
    assert is_local(ServerSettings(), {}, "127.0.0.1")
    assert not is_local(ServerSettings(), {}, "192.0.2.1")
    assert not is_local(ServerSettings(**settings), {}, "127.0.0.1")


@pytest.mark.parametrize("host", ["evil.example.org", "localhost.evil.example.org", "a b", "", "[::1"])
def test_a_name_that_is_not_ours_is_refused_whatever_it_is_bound_to(served, host):
    answer = served.client("admin").get(RUNS, headers={"Host": host})
    if host:
        problem(answer, "misdirected")
    else:
        assert answer.status_code in (400, 421)


def test_the_public_name_is_ours(serve):
    served = serve(public_url="https://runlink.example.org")
    answer = served.client("viewer").get(RUNS, headers={"Host": "runlink.example.org"})
    assert answer.status_code == 200
    problem(served.client().get(RUNS), "unauthenticated")


def test_a_trusted_proxy_tells_who_asks_and_how(serve, record):
    served = serve(trusted_proxies=("127.0.0.1", "10.0.0.0/8"))
    through = {"X-Forwarded-For": "1.2.3.4, 192.0.2.7, 10.0.0.3", "X-Forwarded-Proto": "https"}
    answer = served.client("admin").post(f"{RUNS}/{record.run.id}/start", headers=through)
    assert answer.headers["strict-transport-security"]
    entry = served.get("/api/v1/audit", params={"action": "runs.start"}).json()["items"][0]
    assert entry["address"] == "192.0.2.7", "the last that is no proxy of ours; what stands before may be made up"


class Browser:
    """A client that logged in."""

    def __init__(self, served, role, **headers):
        self.client = served.client()
        self.answer = self.client.post("/login", json={"token": served.tokens[role]}, headers=headers)
        self.csrf = {"X-CSRF-Token": self.answer.json().get("csrf_token", "")}


def test_a_browser_logs_in_writes_and_logs_out(served, record):
    browser = Browser(served, "operator")
    cookie = browser.answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie
    told = browser.client.get("/api/v1/session").json()
    assert (told["name"], told["role"], told["csrf_token"]) == ("operator", "operator", browser.csrf["X-CSRF-Token"])
    start = f"{RUNS}/{record.run.id}/start"
    problem(browser.client.post(start), "csrf")
    problem(browser.client.post(start, headers={"X-CSRF-Token": "0" * 64}), "csrf")
    assert browser.client.post(start, headers=browser.csrf).json()["updated_by"] == "token:operator"
    problem(browser.client.post("/logout"), "csrf")
    kept = dict(browser.client.cookies)
    assert browser.client.post("/logout", headers=browser.csrf).status_code == 204
    problem(served.client(cookies=kept).get(RUNS), "unauthenticated")


def test_a_session_ends_with_its_time_and_with_its_token(serve):
    served = serve(session_ttl_s=600.0)
    first, second = Browser(served, "viewer"), Browser(served, "operator")
    revoke(served, "operator")
    problem(second.client.get(RUNS), "unauthenticated")
    assert first.client.get(RUNS).status_code == 200
    served.clock.now += timedelta(seconds=600)
    problem(first.client.get(RUNS), "unauthenticated")


def test_the_page_logs_in_without_a_script(served):
    client = served.client()
    page = client.get("/login", params={"next": "/runs/7?a=<b>"})
    assert 'value="/runs/7?a=&lt;b&gt;"' in page.text
    wrong = client.post("/login", data={"token": "rl_wrong", "next": "/docs"})
    assert (wrong.status_code, 'role="alert"' in wrong.text) == (401, True)
    right = client.post("/login", data={"token": served.tokens["viewer"], "next": "/docs"})
    assert (right.status_code, right.headers["location"]) == (303, "/docs")


@pytest.mark.parametrize("target", ["//evil.example.org", "https://evil.example.org", "/\\evil.example.org", "runs"])
def test_a_login_leads_to_no_other_site(served, target):
    answer = served.client().post("/login", data={"token": served.tokens["viewer"], "next": target})
    assert answer.headers["location"] == "/"


def test_a_login_comes_from_the_own_page(served):
    refused = served.client().post(
        "/login", json={"token": served.tokens["viewer"]}, headers={"Origin": "http://evil.example.org"}
    )
    problem(refused, "csrf")
    assert "set-cookie" not in refused.headers
    assert Browser(served, "viewer", Origin=served.url).answer.status_code == 200


def test_a_token_that_only_delivers_opens_no_session(served):
    text = served.token("jenkins", ("hooks",))
    problem(served.client().post("/login", json={"token": text}), "forbidden")


def test_over_tls_the_cookie_is_secure(serve):
    served = serve(trusted_proxies=("127.0.0.1",))
    assert "; Secure" in Browser(served, "viewer", **{"X-Forwarded-Proto": "https"}).answer.headers["set-cookie"]


def test_secrets_are_stored_nowhere(served):
    browser = Browser(served, "viewer")
    session = browser.client.cookies["runlink_session"]
    with served.store.reading() as uow:
        rows = [
            str(row)
            for table in ("tokens", "sessions", "audit")
            for row in uow.connection.exec_driver_sql(f"SELECT * FROM {table}")
        ]
    assert rows
    for secret in (*served.tokens.values(), session, browser.csrf["X-CSRF-Token"]):
        assert not any(secret in row for row in rows)


def test_who_asks_too_often_waits_and_nobody_else_does(serve):
    served = serve(requests_per_minute=5)
    viewer = served.client("viewer")
    answers = [viewer.get(RUNS) for _ in range(12)]
    assert [answer.status_code for answer in answers[:10]] == [200] * 10
    limited = problem(answers[-1], "too-many-requests")
    assert "try again" in limited["detail"]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 13
    assert served.get(RUNS).status_code == 200


def test_guessing_tokens_is_slowed_down(served):
    client = served.client()
    statuses = {client.get(RUNS, headers={"Authorization": f"Bearer rl_{n}"}).status_code for n in range(70)}
    assert statuses == {401, 429}


def test_a_bucket_fills_with_time_and_forgets_the_oldest_key():
    now = [0.0]
    buckets = Buckets(60, lambda: now[0])
    assert [buckets.take("a") for _ in range(120)] == [0.0] * 120
    assert buckets.take("a") == pytest.approx(1.0)
    assert buckets.take("b") == 0.0
    now[0] = 1.0
    assert buckets.take("a") == 0.0
    for key in range(10_001):
        buckets.take(str(key))
    assert buckets.take("a") == 0.0, "forgotten, and full again"


def test_every_answer_carries_security_headers_and_none_allows_another_site(served):
    for path in (RUNS, "/docs", "/login", "/nowhere", "/health/live"):
        headers = served.client().get(path, headers={"Origin": "http://evil.example.org"}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert not [name for name in headers if name.startswith("access-control-")]
        assert "server" not in headers
