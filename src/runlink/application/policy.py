"""When a Run of an automation is complete, failed, or too long silent: what an operator decides, and nothing else.

`rollup` applies it; docs/reference/roll-up.md shows it as truth tables. One `[automations.NAME]` table each.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What decides on a Run's status, beside its instances.

    expected         workflow patterns that must each have completed before the Run has
    complete         "auto": by `expected`, or without it when the quiet time is over. "by-hand": only a person or a
                     program completes the Run
    quiet_s          without `expected`: how long it waits for more after its last instance ended, in seconds
    on_failure       "wait" until nothing is open any more, or "fail-fast": failed with the first failure
    retry_grace_s    how long a failure waits for another try before the Run has failed for good, in seconds
    failed_by        "latest": an instance that was run again is replaced by the later one. "any": it counts for good
    tolerate         workflow patterns whose failure, cancellation or vanishing fails no Run
    on_reopen        what an ended Run does when its instances say something else than its end: "reopen", or "keep" it
    silent_after_s   how long an open Run may be without news before it is flagged, in seconds; None: for ever
    """

    expected: tuple[str, ...] = ()
    complete: Literal["auto", "by-hand"] = "auto"
    quiet_s: float = 30.0
    on_failure: Literal["wait", "fail-fast"] = "wait"
    retry_grace_s: float = 0.0
    failed_by: Literal["latest", "any"] = "latest"
    tolerate: tuple[str, ...] = ()
    on_reopen: Literal["reopen", "keep"] = "reopen"
    silent_after_s: float | None = None

    def missing(self, completed: Sequence[str | None]) -> list[str]:
        """The expected patterns that no completed workflow matches."""
        return [pattern for pattern in self.expected if not any(_matches(one, pattern) for one in completed)]

    def tolerates(self, workflow: str | None) -> bool:
        """Whether it does not matter how an instance of this workflow ends."""
        return any(_matches(workflow, pattern) for pattern in self.tolerate)


def _matches(workflow: str | None, pattern: str) -> bool:
    return workflow is not None and fnmatch.fnmatchcase(workflow, pattern)
