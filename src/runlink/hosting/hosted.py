"""An adapter with its surroundings, made from one engine's settings.

The daemon and the CLI come here to get an adapter for an engine, `runlink.testing` to get one for a test.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runlink.application.settings import EngineSettings
from runlink.hosting.context import HostContext
from runlink.hosting.errors import AdapterFault
from runlink.hosting.guard import Guard
from runlink.hosting.isolation import Isolated, Process
from runlink.hosting.options import secret_places
from runlink.hosting.secrets import Redactor, resolve
from runlink.hosting.wire import Wire
from runlink.spi import Adapter, AdapterError


@dataclass(frozen=True, eq=False)
class HostedAdapter:
    """One engine's adapter, and what the host holds it by.

    guard   begin a turn with it, read the request count and the clock skew
    """

    adapter: Adapter
    guard: Guard
    context: HostContext

    def redact(self, text: str) -> str:
        """The text without the engine's secrets: for whatever an adapter raised, before it is shown or stored."""
        return self.context.redactor.redact(text)

    @property
    def process(self) -> Process | None:
        """The process that the adapter runs in, where that is not this one."""
        return self.adapter.process if isinstance(self.adapter, Isolated) else None

    @property
    def is_lost(self) -> bool:
        """Whether that process is gone, so that another adapter has to be made."""
        return self.process is not None and self.process.is_lost

    def close(self) -> None:
        """Lets go of the engine, from any thread, within a second where the adapter uses the context's clients.

        An adapter whose own `close` fails is logged, never raised. May be repeated.
        """
        self.guard.close()
        try:
            self.adapter.close()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - plugin code
            self.context.log.warning("the adapter's close() failed: %s", one_line(error))
        with contextlib.suppress(OSError, RuntimeError):
            self.context.close()


def build_adapter(
    adapter_class: type[Adapter],
    settings: EngineSettings,
    *,
    now: Callable[[], datetime],
    since: datetime,
    backfill: bool = False,
    wire: Callable[[Redactor], Wire] | None = None,
) -> HostedAdapter:
    """Makes the adapter of an engine; nothing is sent yet.

    `since` is aware. `wire` gives whoever is to look at each exchange. Raises SecretUnavailable for a secret that
    is not there, what the constructor raises of AdapterError, and AdapterFault, in one line, for anything else it
    raises; ProcessLost for the process of an isolated one.
    """
    config, secrets = resolve(settings.options, f"engines.{settings.name}")
    given = {value for _, value in secret_places(adapter_class.config_schema, config) if isinstance(value, str)}
    redactor = Redactor(secrets | given, users=_strings(config, secrets | given))
    guard = Guard(
        max_requests_per_minute=settings.max_requests_per_minute,
        request_timeout_s=settings.request_timeout_s,
        now=now,
        redact=redactor.redact,
    )
    guard.wire = wire(redactor) if wire is not None else None
    context = HostContext(
        settings, config=config, guard=guard, redactor=redactor, now=now, since=since, backfill=backfill
    )
    try:
        adapter = adapter_class(context)
    except KeyboardInterrupt:
        context.close()
        raise
    except (AdapterError, AdapterFault) as error:
        context.close()
        error.args = (redactor.redact(str(error)), *error.args[1:])
        raise
    except BaseException as error:
        context.close()
        raise AdapterFault(
            f"engine {settings.name!r}: the adapter {adapter_class.__name__} could not be made: "
            f"{redactor.redact(one_line(error))}; this is a bug of its plugin"
        ) from error
    return HostedAdapter(adapter, guard, context)


def one_line(error: BaseException) -> str:
    """An exception's type and message in one line of at most 300 characters."""
    text = " ".join(str(error).split())
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return line if len(line) <= 300 else f"{line[:299]}…"


def _strings(config: Mapping[str, Any], secrets: Set[str]) -> list[str]:
    return [v for v in config.values() if isinstance(v, str) and v not in secrets]
