"""What engines push: who is let in, what is kept of it, and what each kind of hostile request is answered."""

import base64
import gzip
import hashlib
import json
import socket
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families
from tests.engines.puppets import until

from runlink.application.access import revoke_token
from runlink.http import guard, server
from runlink.store import tables

SCHEMES = ("github", "gitlab", "standard-webhooks", "bearer", "basic", "runlink-token")


TYPES = {
    400: "invalid-request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    408: "timeout",
    413: "too-large",
    415: "unsupported-media-type",
    503: "store-unavailable",
}


def problem(answer, status):
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert (told["status"], told["type"]) == (status, f"urn:runlink:problem:{TYPES[status]}")
    assert told["detail"]
    return told["detail"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("secret", ["OLD", "NEW"])
def test_a_proved_delivery_is_stored_before_202_with_either_secret(site, scheme, secret):
    body = b'{"build": 7}'
    answer = site.post(scheme, body, secret=secret)
    assert answer.status_code == 202, answer.text
    assert answer.json()["duplicate"] is False
    (row,) = site.rows()
    assert (row["engine"], row["state"], row["attempts"], row["bytes"]) == (scheme, "waiting", 0, len(body))
    assert row["received_at"] == site.now
    assert row["signed"] is (scheme in ("github", "standard-webhooks"))
    assert site.content(row).body == body
    assert site.told == [scheme]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_proof_or_with_a_wrong_one_nothing_is_stored(site, scheme):
    body = b'{"build": 7}'
    problem(site.client.post(f"/hooks/{scheme}", content=body), 401)
    problem(site.post(scheme, body, secret="a guess"), 401)
    problem(site.post(scheme, body, secret="an old"), 401)
    assert site.rows() == []
    assert site.told == []


def test_a_token_delivers_with_the_scope_hooks_alone_and_not_once_it_is_revoked(site):
    site.tokens |= {"writer": site.make_token("writer", "write"), "admin": site.make_token("admin", "admin")}
    assert "has no scope hooks" in problem(site.post("runlink-token", secret="writer"), 403)
    assert site.rows() == []
    assert site.post("runlink-token", secret="admin").status_code == 202
    reading = site.client.get("/api/v1/runs", headers=site.proof("runlink-token", b""))
    assert "has no scope read" in problem(reading, 403)
    site.store.write(lambda uow: revoke_token(uow, "OLD", now=site.now), actor="cli")
    assert "revoked" in problem(site.post("runlink-token", secret="OLD"), 401)
    assert site.post("runlink-token", secret="NEW").status_code == 202
    assert len(site.rows()) == 2


def test_a_token_with_the_scope_hooks_opens_no_other_scheme(site):
    headers = site.proof("runlink-token", b"{}")
    for scheme in SCHEMES[:-1]:
        problem(site.client.post(f"/hooks/{scheme}", content=b"{}", headers=headers), 401)
    assert site.rows() == []


@pytest.mark.parametrize("scheme", ["github", "standard-webhooks"])
def test_a_signature_is_of_one_body_only(site, scheme):
    proof = site.proof(scheme, b"one")
    problem(site.client.post(f"/hooks/{scheme}", content=b"two", headers=proof), 401)
    assert site.rows() == []


def test_a_signature_of_another_id_or_time_or_version_is_refused(site):
    good = site.proof("standard-webhooks", b"{}")
    for changed in (
        {"webhook-id": "msg-2"},
        {"webhook-timestamp": str(int(good["webhook-timestamp"]) + 1)},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "9" * 5000},
        {"webhook-signature": good["webhook-signature"].replace("v1,", "v1a,")},
        {"webhook-signature": good["webhook-signature"].removeprefix("v1,")},
        {"webhook-signature": "v1,"},
        {"webhook-signature": " ".join(["v1,AAAA"] * 500) + " " + good["webhook-signature"]},
    ):
        problem(site.client.post("/hooks/standard-webhooks", content=b"{}", headers={**good, **changed}), 401)
    assert site.rows() == []
    several = {**good, "webhook-signature": f"v1,AAAA {good['webhook-signature']}"}
    assert site.client.post("/hooks/standard-webhooks", content=b"{}", headers=several).status_code == 202


@pytest.mark.parametrize("seconds", [-301, 301, 86400])
def test_a_signature_that_is_too_old_or_too_new_is_refused(site, seconds):
    proof = site.proof("standard-webhooks", b"{}", at=site.now - timedelta(seconds=seconds))
    answer = site.client.post("/hooks/standard-webhooks", content=b"{}", headers=proof)
    assert "it was signed" in problem(answer, 401)
    assert site.rows() == []


def test_a_replayed_delivery_is_answered_and_does_nothing(site):
    for scheme, headers in (
        ("standard-webhooks", {}),
        ("github", {"X-GitHub-Delivery": "11"}),
        ("gitlab", {"Idempotency-Key": "22"}),
        ("bearer", {"ce-id": "1", "ce-source": "/ci"}),
    ):
        first = site.post(scheme, b'{"a": 1}', **headers)
        site.told.clear()
        other = {"X-GitHub-Delivery": "12"} if scheme == "github" else headers  # not signed: it makes no difference
        again = site.post(scheme, b'{"a": 1}', **other)
        assert (first.json()["duplicate"], again.json()["duplicate"]) == (False, True)
        assert first.json()["delivery"] == again.json()["delivery"]
        assert again.status_code == 202
        assert site.told == []
    assert len(site.rows()) == 4
    assert site.post("bearer", b"{}", **{"ce-id": "1", "ce-source": "/other"}).json()["duplicate"] is False


def test_deliveries_without_an_id_are_each_their_own(site):
    assert site.post("bearer", b"{}").json()["duplicate"] is False
    assert site.post("bearer", b"{}").json()["duplicate"] is False
    assert len(site.rows()) == 2


def test_headers_are_kept_without_secrets(site):
    site.post("basic", b"{}", **{"X-Jenkins-Event": "build", "Cookie": "a=b", "X-Api-Key": "k", "X-Gitlab-Token": "t"})
    (row,) = site.rows()
    kept = dict(site.content(row).headers)
    assert kept["x-jenkins-event"] == "build"
    assert not {"authorization", "cookie", "x-api-key", "x-gitlab-token"} & kept.keys()
    assert "secret" not in json.dumps(kept)


def test_what_openlineage_clients_append_to_the_address_is_taken(site):
    assert site.post("bearer", b"{}", path="/api/v1/lineage").status_code == 202
    assert site.rows()[0]["path"] == "/hooks/bearer/api/v1/lineage"


def test_an_engine_without_a_webhook_and_an_unknown_one_are_answered_alike(site):
    one = site.client.post("/hooks/nobody", content=b"{}")
    problem(one, 404)
    site.doors.pop("bearer")
    assert site.post("bearer").json() == one.json()
    assert site.client.get("/hooks/basic").status_code == 405


def test_packed_bodies_are_unpacked_and_bombs_are_not(site):
    body = b'{"a": 1}' * 10
    assert site.post("github", gzip.compress(body), **{"Content-Encoding": "gzip"}).status_code == 202
    assert site.post("bearer", zlib.compress(body), **{"Content-Encoding": "deflate"}).status_code == 202
    assert [site.content(row).body for row in site.rows()] == [body, body]
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert len(bomb) < 100_000
    problem(site.post("bearer", bomb, **{"Content-Encoding": "gzip"}), 413)
    problem(site.post("bearer", b"plain", **{"Content-Encoding": "gzip"}), 400)
    problem(site.post("bearer", gzip.compress(body)[:-9], **{"Content-Encoding": "gzip"}), 400)
    problem(site.post("bearer", body, **{"Content-Encoding": "br"}), 415)
    assert len(site.rows()) == 2


def test_what_was_answered_is_measured_by_engines_that_are_there(site):
    site.post("bearer", b"{}", **{"webhook-id": "1"})
    site.post("bearer", b"{}", **{"webhook-id": "1"})
    site.post("bearer", b"{}", secret="a guess")
    site.client.post("/hooks/nobody-by-this-name", content=b"")
    families = {f.name: f for f in text_string_to_metric_families(site.client.get("/metrics").text)}
    received = {tuple(s.labels.values()): s.value for s in families["runlink_deliveries_received"].samples}
    assert received == {
        ("bearer", "accepted"): 1, ("bearer", "duplicate"): 1, ("bearer", "unauthenticated"): 1, ("", "not-found"): 1,
    }  # fmt: skip
    samples = families["runlink_delivery_duration_seconds"].samples
    buckets = [s.value for s in samples if s.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 2 == next(s.value for s in samples if s.name.endswith("_count"))
    assert next(s.value for s in samples if s.name.endswith("_sum")) > 0
    held = {tuple(s.labels.values()): s.value for s in families["runlink_deliveries"].samples}
    assert held == {("bearer", "waiting"): 1}
    site.now += timedelta(seconds=90)
    families = {f.name: f for f in text_string_to_metric_families(site.client.get("/metrics").text)}
    assert families["runlink_deliveries_overdue_seconds"].samples[0].value == 90


def test_many_at_once_share_transactions_and_each_is_there_once(site):
    commits = []

    def count(connection):
        commits.append(connection)

    sa.event.listen(site.store.writing, "commit", count)
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda n: site.post("bearer", str(n).encode(), **{"webhook-id": str(n // 2)}), range(400))
        )
    sa.event.remove(site.store.writing, "commit", count)
    assert {answer.status_code for answer in answers} == {202}
    assert sum(answer.json()["duplicate"] for answer in answers) == 200
    assert len(site.rows()) == 200
    assert len(commits) < 400


# --- hostile ------------------------------------------------------------------------------------------------------


def raw(site, *parts, wait=None):
    """Sends bytes as they are; gives what comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=20) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                if wait is not None:
                    wait.wait(0.05)
        except OSError:
            pass  # it hung up on us
        answer = b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except OSError:
            pass
        return answer


def head(site, scheme="bearer", body=b"", **more):
    lines = {**site.proof(scheme, body), "Host": "127.0.0.1", **more}
    text = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"POST /hooks/{scheme} HTTP/1.1\r\n{text}\r\n".encode()


def test_a_body_of_100_mb_is_refused_before_it_is_read(site):
    answer = raw(site, head(site, Content_Length=100_000_000), b"x" * 1000)
    assert answer.startswith(b"HTTP/1.1 413")
    assert site.rows() == []


def test_a_body_without_an_end_is_refused_at_the_limit(site):
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answer = raw(site, head(site, Transfer_Encoding="chunked"), *[chunk] * 1600)
    assert answer.startswith(b"HTTP/1.1 413")
    assert site.rows() == []
    assert site.post("bearer").status_code == 202


def test_a_body_that_trickles_is_given_up(site, monkeypatch):
    monkeypatch.setattr(guard, "BODY_S", 0.3)
    begun = raw(site, head(site, Content_Length=1000), *[b"x"] * 40, wait=threading.Event())
    assert begun.startswith(b"HTTP/1.1 408")
    assert site.rows() == []
    assert site.post("bearer").status_code == 202


def test_a_head_that_trickles_is_given_up_however_steadily_it_comes(site, monkeypatch):
    monkeypatch.setattr(server, "HEADERS_S", 0.5)
    begun = raw(site, b"POST /hooks/bearer HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 60, wait=threading.Event())
    assert begun.startswith(b"HTTP/1.1 408 ")
    assert site.rows() == []
    assert site.post("bearer").status_code == 202


def test_slow_ones_keep_nobody_waiting(site):
    slow = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(200)]
    for connection in slow:
        connection.sendall(head(site, Content_Length=1000))
    assert site.post("bearer").status_code == 202
    for connection in slow:
        connection.close()
    until(lambda: site.post("bearer").status_code == 202)


def test_a_body_that_is_broken_off_is_not_stored(site):
    with socket.create_connection(("127.0.0.1", site.port)) as connection:
        connection.sendall(head(site, Content_Length=1000) + b"half")
    assert site.post("bearer", b"whole").status_code == 202
    assert [site.content(row).body for row in site.rows()] == [b"whole"]


@pytest.mark.parametrize(
    "path",
    ["/hooks/../hooks/bearer", "/hooks/bearer/../../etc/passwd", "/hooks//bearer", "/hooks/bearer/", "/hooks/%00",
     "/hooks/bearer%2f..%2fbasic", "/hooks/" + "a" * 5000, "/hooks/bearer;x=1", "/hooks/%ff%fe", "/HOOKS/bearer"],
)  # fmt: skip
def test_tricks_with_the_path_lead_nowhere(site, path):
    authorization = site.proof("bearer", b"")["Authorization"]
    request = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization}\r\nContent-Length: 0\r\n"
    answer = raw(site, (request + "Connection: close\r\n\r\n").encode())
    assert answer.split(b" ")[1] in (b"404", b"400", b"307")
    assert site.rows() == []


@pytest.mark.parametrize(
    "lines",
    [b"Authorization: Bearer \xff\xfe\r\n", b"Authorization: Basic !!!\r\n", b"Authorization:\r\n",
     b"Content-Length: -1\r\n", b"Content-Length: 1\r\nContent-Length: 2\r\n",
     b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"\x00: a\r\n"],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["bearer", "basic"])
def test_malformed_requests_get_a_clear_answer(site, scheme, lines):
    start = f"POST /hooks/{scheme} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
    answer = raw(site, start + lines + b"Connection: close\r\n\r\n")
    assert answer.split(b" ")[1] in (b"400", b"401")
    assert site.rows() == []


def test_whatever_the_body_is_it_is_stored_as_it_came(site):
    """It is not looked into here: deep JSON, bad UTF-8 and zeros wait for the adapter."""
    bodies = [b"[" * 90_000, b"\xff\xfe\x00bad", b"\0" * 1000, b"", b'{"a": 1e999}', bytes(range(256))]
    for body in bodies:
        assert site.post("github", body).status_code == 202
    assert [site.content(row).body for row in site.rows()] == bodies


def test_a_long_or_strange_id_is_known_by_its_hash(site):
    assert site.post("bearer", b"{}", **{"webhook-id": "x" * 5000}).json()["delivery"].startswith("sha256:")
    name = base64.b64encode(hashlib.sha256(b"").digest()).decode()
    assert site.post("bearer", b"{}", **{"webhook-id": name}).json()["delivery"] == name


def test_the_store_gone_is_503_and_when_it_is_back_all_goes_on_without_a_restart(make_site, kind):
    site = make_site(store_s=0.5)
    assert site.post("bearer", b"1").status_code == 202
    back = _take_store_away(site, kind)
    try:
        for _ in range(3):
            answer = site.post("bearer", b"2")
            problem(answer, 503)
            assert int(answer.headers["retry-after"]) > 0
    finally:
        back()
    until(lambda: site.post("bearer", b"3", **{"webhook-id": "three"}).status_code == 202, within_s=40)
    stored = [site.content(row).body for row in site.rows()]
    assert stored[0] == b"1"
    assert stored[-1] == b"3"
    assert len(stored) <= 2 + 1  # one that had been handed to the store may have been kept after all


def _take_store_away(site, kind):
    """Has the store answer nothing; gives what brings it back."""
    if kind == "sqlite":  # another process holds the file
        import sqlite3

        other = sqlite3.connect(site.store.url.database, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")

        def release():
            other.rollback()
            other.close()

        return release
    import psycopg

    database = site.store.url.database
    admin = psycopg.connect(
        site.store.url.set(database="postgres", drivername="postgresql").render_as_string(False), autocommit=True
    )
    admin.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
    admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")

    def bring_back():
        admin.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        admin.close()

    return bring_back


def test_the_table_has_no_column_for_a_secret():
    assert not {"authorization", "secret", "token"} & {column.name for column in tables.deliveries.c}
