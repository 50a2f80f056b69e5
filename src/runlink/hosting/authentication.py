"""Whether a delivery comes from where it says. The HTTP intake comes here before anything of one is stored.

A scheme either shows a secret in a header, which is looked at before the body is read, or signs the body. Whatever is
compared with a secret is compared in constant time, and an answer never says which part was wrong.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from runlink.application.settings import WebhookSettings
from runlink.hosting.secrets import resolve

MAX_ID: Final = 200
"""Characters of a delivery's id; a longer one is known by its hash."""
SECRET_HEADERS: Final = frozenset(
    {
        "authorization",
        "cookie",
        "proxy-authorization",
        "webhook-signature",
        "x-api-key",
        "x-gitlab-token",
        "x-hub-signature",
        "x-hub-signature-256",
    }
)
"""Headers that are never kept."""

Headers = Mapping[str, str]
"""By lower-case name."""


class NotAuthentic(Exception):
    """The delivery does not prove where it comes from. The message may be answered; it tells nothing of the secret."""


class Authenticator:
    """One engine's scheme with its secrets resolved. `signs_body`: whether the scheme covers the body.

    `by_token`: that the header holds a token is said here, and whether it is a good one by whoever has the tokens.

    Raises SecretUnavailable when it is made and a secret is not there.
    """

    def __init__(self, scheme: str, settings: WebhookSettings, place: str) -> None:
        values, _ = resolve(settings.secrets, f"{place}.secrets")
        self.scheme = scheme
        self.by_token = scheme == "runlink-token"
        self.signs_body = scheme in ("github", "standard-webhooks")
        self._secrets: Sequence[str] = values
        self._keys = [standard_key(value) if scheme == "standard-webhooks" else value.encode() for value in values]
        self._user = settings.user
        self._tolerance_s = settings.tolerance_s

    def check_headers(self, headers: Headers) -> None:
        """What can be said before the body is read. Raises NotAuthentic."""
        if self.scheme == "bearer":
            kind, _, token = headers.get("authorization", "").partition(" ")
            self._is_one_of(token.strip() if kind.lower() == "bearer" else "", "a bearer token in Authorization")
        elif self.scheme == "gitlab":
            self._is_one_of(headers.get("x-gitlab-token", ""), "the secret token in X-Gitlab-Token")
        elif self.scheme == "basic":
            self._check_basic(headers.get("authorization", ""))
        elif self.scheme == "github":
            if not headers.get("x-hub-signature-256", "").startswith("sha256="):
                raise NotAuthentic("give the body's signature as sha256=… in X-Hub-Signature-256")
        elif self.by_token:
            if not headers.get("authorization", "").lower().startswith("bearer "):
                raise NotAuthentic("give a token with the scope hooks in Authorization: Bearer rl_…")
        elif not all(headers.get(f"webhook-{part}") for part in ("id", "timestamp", "signature")):
            raise NotAuthentic("give webhook-id, webhook-timestamp and webhook-signature, after Standard Webhooks")

    def check_body(self, headers: Headers, body: bytes, now: datetime) -> None:
        """What only the body, as it was sent, can prove. Raises NotAuthentic."""
        if self.scheme == "github":
            given = headers.get("x-hub-signature-256", "").removeprefix("sha256=").lower().encode()
            wanted = [hmac.digest(key, body, "sha256").hex().encode() for key in self._keys]
            if not _any_equal([given], wanted):
                raise NotAuthentic("the signature in X-Hub-Signature-256 is not that of this body")
        elif self.scheme == "standard-webhooks":
            self._check_standard(headers, body, now)

    def delivery_id(self, headers: Headers, body: bytes) -> str | None:
        """What the sender calls this delivery, the same when it is sent again; None where it does not say.

        GitHub signs the body and not its X-GitHub-Delivery, so there the body itself is the id: whoever has seen a
        delivery cannot send it again under another name.
        """
        if self.scheme == "github":
            return f"sha256:{hashlib.sha256(body).hexdigest()}"
        names = ("webhook-id",) if self.scheme == "standard-webhooks" else ("webhook-id", "idempotency-key")
        found = next((headers[name] for name in names if headers.get(name)), None)
        if found is None and headers.get("ce-id"):  # CloudEvents, binary mode: unique together with the source
            found = f"{headers.get('ce-source', '')} {headers['ce-id']}"
        if found is not None and (len(found) > MAX_ID or not found.isprintable()):
            return f"sha256:{hashlib.sha256(found.encode()).hexdigest()}"
        return found

    def _check_basic(self, authorization: str) -> None:
        kind, _, packed = authorization.partition(" ")
        try:
            text = base64.b64decode(packed.strip(), validate=True).decode() if kind.lower() == "basic" else ""
        except (binascii.Error, ValueError):
            text = ""
        user, _, password = text.partition(":")
        is_user = self._user is None or hmac.compare_digest(user.encode(), self._user.encode())
        if not (_any_equal([password.encode()], self._keys) and is_user):
            raise NotAuthentic("give user and password in Authorization, after the Basic scheme")

    def _check_standard(self, headers: Headers, body: bytes, now: datetime) -> None:
        try:
            sent_at = int(headers["webhook-timestamp"])
        except ValueError:
            raise NotAuthentic("webhook-timestamp is not a number of seconds") from None
        signed = f"{headers['webhook-id']}.{sent_at}.".encode() + body
        wanted = [base64.b64encode(hmac.digest(key, signed, "sha256")) for key in self._keys]
        given = [one.removeprefix("v1,").encode() for one in headers["webhook-signature"].split() if one[:3] == "v1,"]
        if not _any_equal(given[:20], wanted):
            raise NotAuthentic("no signature in webhook-signature is that of this body, id and time")
        if abs(now.timestamp() - sent_at) > self._tolerance_s:
            raise NotAuthentic(
                f"it was signed {now.timestamp() - sent_at:.0f} s ago, and {self._tolerance_s:g} s are allowed; "
                "set the clocks right, or send it anew"
            )

    def _is_one_of(self, given: str, what: str) -> None:
        if not _any_equal([given.encode()], self._keys):
            raise NotAuthentic(f"give {what}")


@dataclass(frozen=True, slots=True)
class Door:
    """Where one engine's deliveries come in. `max_bytes` bounds a body, also after it is unpacked."""

    engine_id: UUID
    authenticator: Authenticator
    max_bytes: int


def standard_key(secret: str) -> bytes:
    """The key of a Standard Webhooks secret: what `whsec_` has in base64, else the text itself."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


def standard_signature(secrets: Sequence[str], message_id: str, sent_at: int, body: bytes) -> str:
    """The `webhook-signature` header: one signature for each secret."""
    signed = f"{message_id}.{sent_at}.".encode() + body
    digests = (hmac.digest(standard_key(secret), signed, "sha256") for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def _any_equal(given: Sequence[bytes], wanted: Sequence[bytes]) -> bool:
    """Whether any of these is one of those, every pair compared whatever the others said."""
    return sum(hmac.compare_digest(one, other) for one in given for other in wanted) > 0
