"""A plugin looked through for whoever writes or installs it: what can be verified from outside. `plugins check` comes
here.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from packaging.requirements import InvalidRequirement, Requirement

from runlink.hosting.errors import PythonUnusable
from runlink.hosting.grades import GRADES, RULES, Grade, read_grade
from runlink.hosting.isolation.environment import environment
from runlink.hosting.loader import PluginHost, PluginInfo
from runlink.spi import Adapter


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at. `ok` is None where it cannot be seen from here."""

    plugin: str
    about: str
    ok: bool | None
    text: str


def inspect(host: PluginHost, plugin: PluginInfo, source: Path | None = None) -> list[Finding]:
    """What can be said of one plugin. `source` is where its sources are, if not where it was installed from."""
    found = list(_loaded(plugin))
    if plugin.refused is None:
        source = source or _installed_from(plugin.distribution)
        for engine_type in plugin.engine_types:
            found += _schema(plugin.name, host.adapters[engine_type])
        found += _grade(plugin, source, [host.adapters[engine_type] for engine_type in plugin.engine_types])
        found += _readme(plugin)
    found += _dependencies(plugin)
    return found


def inspect_elsewhere(python: Path, name: str | None, source: Path | None = None) -> list[Finding]:
    """The same of the plugins of another Python's environment, or of one of them, as runlink there says it.

    Raises PythonUnusable, also where there is no such plugin.
    """
    known = [plugin["name"] for plugin in environment(python).plugins]
    if name is not None and name not in known:
        raise PythonUnusable(f"{python} has no plugin {name!r}; installed there: {', '.join(known) or 'none'}")
    command = [str(python), "-P", "-m", "runlink.cli", "plugins", "check", "-o", "json"]
    command += [name] if name is not None else []
    command += ["--path", str(source)] if source is not None else []
    said = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - what the operator named
    try:
        return msgspec.json.decode(said.stdout, type=list[Finding])
    except msgspec.MsgspecError:
        last = (said.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise PythonUnusable(f"{python} could not check its plugins: {last}") from None


def _loaded(plugin: PluginInfo) -> Iterator[Finding]:
    can = ", ".join(plugin.capabilities) or "nothing but check"
    text = plugin.refused or f"engine types {', '.join(plugin.engine_types) or 'none'}; it can {can}"
    yield Finding(plugin=plugin.name, about="hooks and signatures", ok=plugin.refused is None, text=text)


def _schema(name: str, adapter_class: type[Adapter]) -> Iterator[Finding]:
    keys = adapter_class.config_schema.get("properties", {})
    silent = [key for key, part in keys.items() if not (isinstance(part, Mapping) and part.get("description"))]
    text = f"{', '.join(silent)}: give a description" if silent else f"{len(keys)} keys, each described"
    yield Finding(plugin=name, about=f"schema of {adapter_class.name}", ok=not silent, text=text)


def _grade(plugin: PluginInfo, source: Path | None, adapters: Sequence[type[Adapter]]) -> Iterator[Finding]:
    grade = read_grade(plugin.package or plugin.name)
    for problem in grade.problems:
        yield Finding(plugin=plugin.name, about="grade", ok=False, text=problem)
    if grade.grade is None:
        return
    asked = [name for level in GRADES[: GRADES.index(grade.grade) + 1] for name in RULES[level]]
    missing = [name for name in asked if grade.rules.get(name) == "open"]
    text = f"{grade.grade}{' (experimental)' if grade.experimental else ''}"
    text += f", but {', '.join(missing)} is open" if missing else _next_grade(grade)
    yield Finding(plugin=plugin.name, about="grade", ok=not missing, text=text)
    capable = {"steps": None, "news": {"watch", "receive"}, "deletion": {"refetch"}}
    for rule, ways in capable.items():
        if grade.rules.get(rule) == "done" and ways and not ways & set(plugin.capabilities):
            text = f"said to be done, but it has none of {', '.join(sorted(ways))}"
            yield Finding(plugin=plugin.name, about=rule, ok=False, text=text)
    for rule, verify in (("contract", _uses_contract), ("recordings", _has_recordings)):
        if grade.rules.get(rule) == "done":
            if source is None:
                text = "cannot be seen: the tests are not installed; give --path with the sources"
                yield Finding(plugin=plugin.name, about=rule, ok=None, text=text)
            else:
                ok, text = verify(source, adapters)
                yield Finding(plugin=plugin.name, about=rule, ok=ok, text=text)


def _next_grade(grade: Grade) -> str:
    """What stands between a grade and the next one, in words; nothing for the highest."""
    higher = GRADES[GRADES.index(grade.grade or GRADES[-1]) + 1 :][:1]
    still = [name for level in higher for name in RULES[level] if grade.rules.get(name, "open") == "open"]
    return f"; {higher[0]} takes {', '.join(still)}" if still else ""


def _uses_contract(source: Path, adapters: Sequence[type[Adapter]]) -> tuple[bool, str]:
    texts = {path: path.read_text() for path in sorted((source / "tests").glob("test_*.py"))}
    users = {path: text for path, text in texts.items() if "AdapterContract" in text}
    if not users:
        return False, f"no test in {source / 'tests'} uses runlink.testing.AdapterContract"
    named = [cls for cls in adapters if any(f"adapter = {cls.__name__}\n" in text for text in users.values())]
    if left := [cls.__name__ for cls in adapters if cls not in named]:
        return False, f"no contract has adapter = {' or '.join(left)}"
    return True, f"{', '.join(path.name for path in users)}: {', '.join(cls.__name__ for cls in named)}"


def _has_recordings(source: Path, _adapters: Sequence[type[Adapter]]) -> tuple[bool, str]:
    count = len([path for path in (source / "tests" / "recordings").glob("**/*.json*") if path.is_file()])
    return bool(count), f"{count} recorded answers in tests/recordings"


def _readme(plugin: PluginInfo) -> Iterator[Finding]:
    if plugin.distribution is None:
        return
    told: Any = importlib.metadata.metadata(plugin.distribution)
    text = str(told.get("Description") or told.get_payload() or "").strip()
    lines = len(text.splitlines())
    yield Finding(
        plugin=plugin.name, about="readme", ok=lines > 5, text=f"{lines} lines, in the distribution's metadata"
    )


def _dependencies(plugin: PluginInfo) -> Iterator[Finding]:
    """Each requirement of the plugin, and of what it needs, against what is installed: two plugins that ask for
    versions of one package that exclude each other show here."""
    if plugin.distribution is None:
        yield Finding(plugin=plugin.name, about="dependencies", ok=None, text="not installed as a distribution")
        return
    clashes = sorted(set(_clashes(plugin.distribution, set(), frozenset())))
    text = "; ".join(clashes) or "what it asks for is installed"
    if clashes:
        text += '; or install it in an environment of its own: isolation = "process", python = "…"'
    yield Finding(plugin=plugin.name, about="dependencies", ok=not clashes, text=text)


def _clashes(name: str, seen: set[tuple[str, frozenset[str]]], extras: frozenset[str]) -> Iterator[str]:
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    for line in importlib.metadata.requires(name) or ():
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            yield f"{name} asks for {line!r}, which is no requirement"
            continue
        if wanted.marker is not None and not any(wanted.marker.evaluate({"extra": e}) for e in (*extras, "")):
            continue
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            yield f"{name} asks for {wanted.name}{wanted.specifier}, which is not installed"
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            others = _asked_by_others(name, wanted)
            yield f"{name} asks for {wanted.name}{wanted.specifier}, and {version} is installed{others}"
        yield from _clashes(wanted.name, seen, frozenset(wanted.extras))


def _asked_by_others(name: str, wanted: Requirement) -> str:
    """Who else asks for the package, and in which versions."""
    others: list[str] = []
    for distribution in importlib.metadata.distributions():
        for line in distribution.requires or ():
            try:
                other = Requirement(line)
            except InvalidRequirement:
                continue
            if other.name.lower() == wanted.name.lower() and other.specifier and distribution.name != name:
                others.append(f"{distribution.name} asks for {other.specifier}")
    return f" ({', '.join(sorted(set(others))[:3])})" if others else ""


def _installed_from(distribution: str | None) -> Path | None:
    """The folder of an editable installation."""
    if distribution is None:
        return None
    text = importlib.metadata.distribution(distribution).read_text("direct_url.json")
    told = json.loads(text) if text else {}
    path = Path(unquote(urlsplit(str(told.get("url", ""))).path))
    return path if told.get("dir_info", {}).get("editable") and path.is_dir() else None
