"""A new plugin: the adapter for an imaginary Acme beside this file, under another name. `plugins new` comes here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import typer

_SOURCE: Final = Path(__file__).parent / "new_plugin"
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LEFT_OUT: Final = frozenset({"__pycache__", ".hypothesis", ".pytest_cache", ".ruff_cache"})


def write_plugin(name: str, folder: Path) -> list[Path]:
    """Writes the distribution `runlink-NAME` and gives its files. Raises BadParameter for a name that cannot be a
    package's, and for a folder that is there and not empty."""
    if not _NAME.fullmatch(name):
        raise typer.BadParameter(
            f"{name!r}: give lower-case words joined by '-', e.g. acme or acme-ci", param_hint="NAME"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise typer.BadParameter(f"{folder} is there already and not empty; give another one", param_hint="--path")
    written = []
    for source in sorted(_SOURCE.rglob("*")):
        relative = source.relative_to(_SOURCE)
        if source.is_file() and not _LEFT_OUT & set(relative.parts) and source.suffix != ".pyc":
            target = folder / _renamed(str(relative), name, module=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_text(source.read_text("utf-8"), name), encoding="utf-8")
            written.append(target)
    return written


def _text(text: str, name: str) -> str:
    """`acme` in a module's name has underscores, elsewhere it is the type's name; `Acme` is the class's."""
    text = re.sub(r"(runlink_|scripted_)acme", rf"\1{name.replace('-', '_')}", text)
    return _renamed(text, name, module=False)


def _renamed(text: str, name: str, *, module: bool) -> str:
    title = "".join(part.capitalize() for part in name.split("-"))
    return text.replace("Acme", title).replace("acme", name.replace("-", "_") if module else name)
