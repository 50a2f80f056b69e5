"""What a recorded exchange may not hold: configured secrets in any form, and whatever names itself a secret."""

import base64
import json

import pytest

from runlink.hosting.scrubbing import Scrubber, is_secret_name
from runlink.hosting.secrets import MASK, Redactor
from runlink.hosting.wire import Received, Sent

SECRET = 'p@ss w&rd/"☃'


def scrubber():
    return Scrubber(Redactor([SECRET], users=["rob"]))


def exchange(scrub, url="http://e.test/x", headers=(), body=b"", answer=b"", answer_headers=()):
    return scrub.exchange(Sent("POST", url, headers, body), Received(200, "OK", answer_headers, answer))


@pytest.mark.parametrize("name", ["password", "DB_PASSWORD", "access_token", "X-Api-Key", "apikey", "client_secret",
                                  "Cookie", "Set-Cookie", "Jenkins-Crumb", "jwt", "JSESSIONID"])  # fmt: skip
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["next_page_token", "continueToken", "X-Jenkins-Session", "secretName", "tokens_used",
                                  "status", "key", "name"])  # fmt: skip
def test_names_that_are_none(name):
    assert not is_secret_name(name)


def test_a_configured_secret_is_taken_out_in_each_form():
    told = exchange(
        scrubber(),
        url=f"http://rob:{SECRET}@e.test/x?q=p%40ss%20w%26rd%2F%22%E2%98%83",
        headers=(("X-Debug", SECRET), ("Echoed", base64.b64encode(f"rob:{SECRET}".encode()).decode())),
        body=json.dumps({"deep": [{"x": f"with {SECRET}"}]}).encode(),
        answer=f"<p>{SECRET}</p>".encode(),
    )
    text = json.dumps(told, ensure_ascii=False)
    assert "w&rd" not in text
    assert "w%26rd" not in text
    assert told["request"]["headers"] == [["X-Debug", MASK], ["Echoed", MASK]]
    assert told["request"]["url"] == "http://e.test/x?q=[secret]"
    assert told["request"]["json"] == {"deep": [{"x": "with [secret]"}]}
    assert told["response"]["body"] == "<p>[secret]</p>"


def test_what_names_itself_a_secret_is_masked_where_it_stands():
    body = {"password": "abc", "parameters": [{"name": "API_TOKEN", "value": "t0k"}, {"name": "N", "value": "3"}]}
    told = exchange(scrubber(), url="http://e.test/x?token=a%20b&page=2", body=json.dumps(body).encode())
    assert told["request"]["path"] == "/x?token=[secret]&page=2"
    assert told["request"]["json"] == {
        "password": MASK, "parameters": [{"name": "API_TOKEN", "value": MASK}, {"name": "N", "value": "3"}],
    }  # fmt: skip
    form = exchange(
        scrubber(),
        headers=(("Content-Type", "application/x-www-form-urlencoded"),),
        body=b"user=rob&password=abc",
    )
    assert form["request"]["body"] == "user=rob&password=[secret]"


def test_what_one_answer_hands_out_is_taken_out_of_all_later_ones():
    scrub = scrubber()
    first = exchange(scrub, answer=b'{"access_token": "handed-out-1"}', answer_headers=(
        ("Set-Cookie", "session=cookie-4711; Path=/"),))  # fmt: skip
    assert first["response"]["json"] == {"access_token": MASK}
    assert first["response"]["headers"] == [["Set-Cookie", "session=[secret]; Path=/"]]
    later = exchange(scrub, url="http://e.test/handed-out-1/x", answer=b"you sent cookie-4711")
    assert later["request"]["path"] == "/[secret]/x"
    assert later["response"]["body"] == "you sent [secret]"
    assert scrub.text("read with handed-out-1") == "read with [secret]"


def test_tokens_are_known_by_their_looks():
    jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJydW5saW5rIn0.c2lnbmF0dXJl"
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----"
    for text in (jwt, key, "Bearer abcdef123456"):
        assert text.rpartition(" ")[2] not in scrubber().text(f"before {text} after")
    assert scrubber().text("Basic authentication failed") == "Basic authentication failed"


def test_what_is_no_text_stays_as_it_was():
    body = b"\xff\xfe\x00" + SECRET.encode()
    told = exchange(scrubber(), answer=body)
    assert base64.b64decode(told["response"]["body_base64"]) == b"\xff\xfe\x00[secret]"
    numbers = exchange(Scrubber(Redactor(["12345678"])), answer=b'{"id": 12345678, "n": 1, "ok": true, "none": null}')
    assert numbers["response"]["json"] == {"id": MASK, "n": 1, "ok": True, "none": None}
