"""Secrets: from reference to value, and out of every text again.

`hosted` comes here when an adapter is made. Values live in the adapter's configuration and in the redactor, nowhere
else.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus

from runlink.application.settings import Secret
from runlink.hosting.errors import SecretUnavailable

MASK: Final = "[secret]"


def resolve(options: Any, path: str, environ: Mapping[str, str] | None = None) -> tuple[Any, frozenset[str]]:
    """The options with each `Secret` replaced by its value, at any depth, and the set of those values.

    `path` is where the options stand in the configuration, for errors. A trailing newline of a file or variable is
    not part of the secret. Raises SecretUnavailable for one that is missing, unreadable or empty.
    """
    found: set[str] = set()

    def walk(value: Any, at: str) -> Any:
        if isinstance(value, Secret):
            secret = _read(value, at, os.environ if environ is None else environ)
            found.add(secret)
            return secret
        if isinstance(value, Mapping):
            return {k: walk(v, f"{at}.{k}") for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [walk(v, f"{at}[{i}]") for i, v in enumerate(value)]
        return value

    return walk(options, path), frozenset(found)


def _read(secret: Secret, at: str, environ: Mapping[str, str]) -> str:
    if secret.env:
        value = environ.get(secret.env)
        if value is None:
            raise SecretUnavailable(f"{at}: the environment variable {secret.env} is not set; set it and start again")
        source = f"the environment variable {secret.env}"
    elif secret.file:
        try:
            value = secret.file.read_text("utf-8")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise SecretUnavailable(f"{at}: the file {secret.file} cannot be read: {reason}") from None
        except UnicodeDecodeError:
            raise SecretUnavailable(f"{at}: the file {secret.file} is not UTF-8 text") from None
        source = f"the file {secret.file}"
    else:
        raise SecretUnavailable(f"{at}: the secret names neither env nor file")
    value = value.rstrip("\r\n")
    if not value:
        raise SecretUnavailable(f"{at}: {source} is empty")
    return value


class Redactor:
    """Takes known secrets out of text, in the forms they travel in: plain, quoted for URLs, in JSON, in Basic auth.

    `users` are the strings a secret may be joined to as `user:secret` before it is encoded.
    """

    def __init__(self, secrets: Iterable[str] = (), users: Iterable[str] = ()) -> None:
        forms: set[str] = set()
        users = tuple(users)
        for secret in filter(None, secrets):
            forms |= {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1]}
            forms |= {repr(secret)[1:-1], _base64(secret)}
            forms |= {line for line in secret.splitlines() if len(line) >= 8}
            forms |= {_base64(f"{user}:{secret}") for user in ("", *users)}
        self._forms = sorted(forms, key=len, reverse=True)

    def redact(self, text: str) -> str:
        """The text with `[secret]` wherever a secret stood."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
