"""The hooks a plugin may implement. Hooks find, classes behave: everything else is a method of `Adapter`.

A plugin is a module (or object) named by an entry point of the group `runlink`:

    [project.entry-points.runlink]
    acme = "runlink_acme"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import pluggy

if TYPE_CHECKING:
    from runlink.spi.adapter import Adapter
    from runlink.spi.observation import Observation

PROJECT: Final = "runlink"
"""The pluggy project name and the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def runlink_adapters() -> Iterable[type[Adapter]]:  # type: ignore[empty-body]
    """The adapter classes this plugin brings."""


@hookspec
def runlink_link(observation: Observation, engine: str) -> Iterable[str]:  # type: ignore[empty-body]
    """The keys (ids or correlation ids) of the Runs an instance belongs to, where no path leads to them.

    Called for each new or changed instance that a link rule with `run_key = { plugin = "NAME" }` selects, and again by
    `runlink plan` and `runlink relink`: the same observation must give the same keys. The observation has no attempts,
    and steps where they are told; `engine` is the engine's name in the configuration. It runs within the transaction
    that stores the instance: no waiting, no network. An exception sets that instance aside, with the rule's name, and
    stops nothing.
    """


@hookspec
def runlink_event(event: Mapping[str, Any]) -> None:
    """Called with each event of the outbox, at least once, in order per Run.

    Keys: `id`, `type` (`run.failed`, `instance.status_changed`, …), `occurred_at` (ISO 8601), `position`, `run_id` (or
    None), `actor` (who caused it: `engine:NAME`, `cli:USER`, `rule:NAME`) and `data`. An exception leaves the event
    undelivered for this plugin: it is tried again with back-off.
    """
