"""The one error of this room."""

from __future__ import annotations

from collections.abc import Sequence

from runlink.config.places import with_lines


class ConfigError(Exception):
    """The configuration cannot be used. `problems` has every one of them, a line `path: reason` each.

    No line shows a secret; those that come from an environment variable name it. The message has them with the lines of
    the file, where `source` is one.
    """

    def __init__(self, problems: Sequence[str], source: str) -> None:
        self.problems = tuple(problems)
        self.source = source
        count = f"{len(self.problems)} problems" if len(self.problems) > 1 else "a problem"
        super().__init__("\n  ".join((f"{source} has {count}:", *with_lines(self.problems, source))))
