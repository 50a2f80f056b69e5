"""`runlink engines`: the engines of the configuration and of the record, and whether they answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runlink.cli import output, session
from runlink.cli.options import LimitOption, OutputOption
from runlink.cli.output import Output

if TYPE_CHECKING:
    from runlink.application.settings import EngineSettings, Settings
    from runlink.hosting import HostedAdapter, PluginHost

app = typer.Typer(help="The engines.", no_args_is_help=True)


def register(main: typer.Typer) -> None:
    """Adds the commands of this module."""
    main.add_typer(app, name="engines", rich_help_panel="Look")


@app.command("list")
def list_(
    context: typer.Context,
    engine_type: Annotated[str | None, typer.Option("--type", help="Only engines of this type.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that left the configuration.")] = False,
    limit: LimitOption = 1000,
    form: OutputOption = Output.TABLE,
) -> None:
    """The engines that are configured; with --all also those that are only in the record."""
    with session.record(context) as runlink:
        with runlink.store.reading() as uow:
            stored = {engine.name: engine for engine in uow.engines.list(limit=10_000, include_inactive=True)}
        configured = runlink.settings.engines
    rows: list[dict[str, Any]] = []
    for name in sorted({*configured, *stored} if every else configured):
        settings, engine = configured.get(name), stored.get(name)
        rows.append(
            {
                "id": engine.id if engine else None,
                "name": name,
                "type": settings.type if settings else engine and engine.type,
                "url": settings.url if settings else engine and engine.url,
                "product": engine.product if engine else None,
                "product_version": engine.product_version if engine else None,
                "configured": settings is not None,
                "is_active": engine is not None and engine.is_active,
            }
        )
    rows = [row for row in rows if engine_type is None or row["type"] == engine_type.lower()][:limit]
    columns: dict[str, output.Cell] = {
        "name": "name",
        "type": "type",
        "url": "url",
        "product": lambda row: " ".join(filter(None, (row["product"], row["product_version"]))),
        "configured": "configured",
    }
    output.listing(rows, columns, form, empty="no engine is configured; see [engines.NAME] in the configuration")


@app.command("test")
def check(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Only this engine.")] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for each engine.")] = 60.0,
    form: OutputOption = Output.TABLE,
) -> None:
    """Reach each engine, prove the credentials, show product, version and warnings.

    Exit code 3 when some engines failed, 1 when all did.
    """
    from runlink import bootstrap

    settings = session.settings_of(context)
    host = bootstrap.load_plugins(settings, session.given(context).disabled)
    bootstrap.check_engines(settings, host)
    chosen = chosen_engines(settings, name)
    if not chosen:
        output.say("no engine is configured")
        return
    rows = _test_all(chosen, host, timeout_s)
    columns: dict[str, output.Cell] = {
        "engine": "engine",
        "state": lambda row: "ok" if row["ok"] else "failed",
        "product": lambda row: " ".join(filter(None, (row["product"], row["version"]))),
        "took": lambda row: output.took(row["duration_s"]),
        "error": "error",
    }
    output.listing(rows, columns, form)
    for row in rows:
        for warning in row["warnings"]:
            output.say(f"{row['engine']}: warning: {warning}")
    raise typer.Exit(session.exit_code(sum(not row["ok"] for row in rows), len(rows)))


def chosen_engines(settings: Settings, name: str | None) -> Sequence[EngineSettings]:
    """The engines of the configuration, or the one of this name. Raises BadParameter."""
    if name is None:
        return list(settings.engines.values())
    if name not in settings.engines:
        raise unknown_engine(name, settings.engines)
    return [settings.engines[name]]


def unknown_engine(name: str, known: Iterable[str]) -> typer.BadParameter:
    """The refusal of a name that no engine has, with those that there are."""
    from runlink.application.problems import suggestion

    names = list(known)
    there = ", ".join(names) or "none"
    return typer.BadParameter(f"no engine is called {name!r}{suggestion(name, names)}; configured: {there}")


def _test_all(chosen: Sequence[EngineSettings], host: PluginHost, timeout_s: float) -> list[dict[str, Any]]:
    tests = [_Test(engine, host, timeout_s) for engine in chosen]
    until = time.monotonic() + timeout_s + 1.0
    for one in tests:
        one.start()
    for one in tests:
        one.join(max(0.0, until - time.monotonic()))
    return [one.result() for one in tests]


class _Test(threading.Thread):
    """One engine's check, on a thread that nobody waits for longer than its time."""

    def __init__(self, engine: EngineSettings, host: PluginHost, timeout_s: float) -> None:
        super().__init__(daemon=True)
        self._engine = engine
        self._host = host
        self._timeout_s = timeout_s
        self._hosted: HostedAdapter | None = None
        self._found: dict[str, Any] = {}
        self._started_at = time.monotonic()

    def run(self) -> None:
        try:
            self._check()
        except BaseException as error:  # noqa: BLE001 - plugin code
            self._found = {"error": self._text(error), "duration_s": time.monotonic() - self._started_at}
        finally:
            if self._hosted is not None:
                self._hosted.close()

    def _check(self) -> None:
        from runlink.hosting import build_adapter
        from runlink.spi import EngineInfo

        adapter_class = self._host.adapter_class(self._engine.type)
        self._hosted = build_adapter(adapter_class, self._engine, now=session.now, since=session.now())
        self._hosted.guard.begin_turn(self._started_at + self._timeout_s)
        info = self._hosted.adapter.check()
        if not isinstance(info, EngineInfo):
            raise TypeError(f"check() gave {type(info).__name__} where an EngineInfo belongs")
        self._found = {
            "ok": True,
            "product": info.product,
            "version": info.version,
            "warnings": [self._hosted.redact(warning) for warning in info.warnings],
            "duration_s": time.monotonic() - self._started_at,
        }

    def result(self) -> dict[str, Any]:
        """What is known now; a check that is still running has failed."""
        nothing: dict[str, Any] = {"ok": False, "product": None, "version": None, "warnings": []}
        hung = {"error": f"no answer for {self._timeout_s:g} s", "duration_s": self._timeout_s}
        return {"engine": self._engine.name, **nothing, "error": None, **(self._found or hung)}

    def _text(self, error: BaseException) -> str:
        from runlink.hosting import HostingError
        from runlink.hosting.hosted import one_line
        from runlink.spi import AdapterError

        ours = isinstance(error, AdapterError | HostingError)
        text = " ".join(str(error).split()) if ours else f"a bug of the adapter: {one_line(error)}"
        return self._hosted.redact(text) if self._hosted is not None else text
