"""The `[server]` table: what is refused because others could listen along."""

from __future__ import annotations

import pytest

from runlink.config import ConfigError
from runlink.config.load import load


@pytest.fixture
def server(tmp_path):
    def server(text):
        path = tmp_path / "runlink.toml"
        path.write_text(f"[server]\n{text}\n")
        return load(path, {}).server

    return server


def test_it_listens_on_loopback_and_reads_are_free_there(server):
    found = server("")
    assert (found.enabled, found.address, found.is_local, found.auth) == (True, ("127.0.0.1", 8765), True, "local")
    assert server('listen = "[::1]:0"').address == ("::1", 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('listen = "0.0.0.0:8765"', "server.listen: 0.0.0.0 is reached from other machines"),
        ('listen = "[::]:8765"', "server.listen: [::] is reached from other machines"),
        ('listen = "localhost:8765"', "server.listen: 'localhost:8765' is no address and port"),
        ('listen = "127.0.0.1"', "server.listen: '127.0.0.1' is no address and port"),
        ('listen = "127.0.0.1:70000"', "server.listen: '127.0.0.1:70000' is no address and port"),
        ('tls_key = "k"', "server.tls_key: tls_certificate and tls_key go together"),
        ('public_url = "runlink"', "server.public_url: is not an address such as"),
        ('public_url = "https://a/b"', "server.public_url: has a path, query or fragment"),
        ('public_url = "https://u:p@a"', "server.public_url: is not an address such as"),
        ('trusted_proxies = ["proxy"]', "server.trusted_proxies[0]: 'proxy' is no address or network"),
        ('auth = "none"', "server.auth: "),
        ("port = 1", "server.port: unknown key"),
    ],
)
def test_what_is_wrong_is_named(server, text, says):
    with pytest.raises(ConfigError) as refused:
        server(text)
    assert says in str(refused.value)


def test_another_address_is_taken_with_tls_or_a_proxy(server, tmp_path):
    tls = server('listen = "0.0.0.0:8765"\ntls_certificate = "a.pem"\ntls_key = "/b.key"')
    assert (tls.tls_certificate, str(tls.tls_key)) == (tmp_path / "a.pem", "/b.key")
    proxied = server('listen = "0.0.0.0:8765"\ntrusted_proxies = ["10.0.0.0/8"]')
    assert proxied.trusted_proxies == ("10.0.0.0/8",)
    assert not tls.is_local
    assert not proxied.is_local
