"""Whether Buildbot's own account and runlink's tables say the same, request by request, try by try.

The expectations are written out here, not taken from the plugin that is being judged.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from demo.buildbot_engine import Account
from runlink.bootstrap import Runlink

STATUS = {0: "COMPLETED", 1: "COMPLETED", 2: "FAILED", 3: "COMPLETED", 4: "FAILED", 6: "CANCELLED"}
TRY_STATUS = {**STATUS, 5: "FAILED"}
WORDS = ("SUCCESS", "WARNINGS", "FAILURE", "SKIPPED", "EXCEPTION", "RETRY", "CANCELLED")


def differences(accounts: Sequence[Account], runlink: Runlink) -> list[str]:
    """Every point in which the two differ; empty when they agree."""
    with runlink.store.reading() as uow:
        rows = {row["external_id"]: row for row in uow.reports.instances(limit=1000)}
        ids = [row["id"] for row in rows.values()]
        attempts, steps = uow.reports.attempts(ids), uow.reports.steps(ids)
        runs = {row["id"]: row for row in uow.reports.runs(limit=1000)}
    names = {account.id: f"buildrequest:{account.id}@{account.submitted_at}" for account in accounts}
    found = [f"runlink has {extra}, Buildbot does not" for extra in sorted(rows.keys() - set(names.values()))]
    for account in accounts:
        row = rows.get(names[account.id])
        if row is None:
            found.append(f"Buildbot has request {account.id} ({account.builder}), runlink does not")
            continue
        mine = [one for one in attempts if one["instance_id"] == row["id"]]
        its_steps = [one for one in steps if one["instance_id"] == row["id"]]
        found += [f"{names[account.id]}: {line}" for line in _compare(account, row, mine, its_steps, names)]
        found += [f"{names[account.id]}: {line}" for line in _compare_run(account, accounts, row, runs)]
    return found


def _compare(
    account: Account, row: dict[str, Any], attempts: list[dict[str, Any]], steps: list[dict[str, Any]], names: Any
) -> Iterator[str]:
    pairs = {
        "builder": (account.builder, row["workflow"]),
        "status": (STATUS[account.results], row["status"]),
        "result": (WORDS[account.results], row["native_status"]),
        "parent": (None if account.parent is None else names[account.parent], row["parent_external_id"]),
        "run_id": (account.properties.get("run_id"), (row["parameters"] or {}).get("run_id")),
        "tries": (
            [TRY_STATUS[one.results] for one in account.tries if one.results is not None],
            [one["status"] for one in attempts] if account.tries else [],
        ),
        "steps": (
            [(place, *step) for place, one in enumerate(account.tries, 1) for step in _named(one.steps)],
            sorted(
                (one["attempt"], int(one["external_id"].split(":")[0]), one["name"], one["native_status"])
                for one in steps
            ),
        ),
    }
    for what, (theirs, ours) in pairs.items():
        if theirs != ours:
            yield f"{what}: Buildbot says {theirs!r}, runlink {ours!r}"


def _named(steps: Sequence[tuple[str, int | None]]) -> list[tuple[int, str, str | None]]:
    return [(n, name, None if result is None else WORDS[result]) for n, (name, result) in enumerate(steps)]


def _compare_run(
    account: Account, accounts: Sequence[Account], row: dict[str, Any], runs: dict[Any, Any]
) -> Iterator[str]:
    """The Run is the one whose key the request, or whatever it comes from, was forced with; its state is the worst."""
    by_id = {one.id: one for one in accounts}
    root = account
    while root.parent is not None:
        root = by_id[root.parent]
    linked = [runs[run_id]["correlation_id"] for run_id in row["runs"]]
    if linked != [root.properties["run_id"]]:
        yield f"Run: Buildbot's request came from {root.properties['run_id']!r}, runlink links it to {linked!r}"
        return
    status = {STATUS[one.results] for one in accounts if _root(one, by_id) is root}
    expected = next(one for one in ("FAILED", "CANCELLED", "COMPLETED") if one in status)
    if runs[row["runs"][0]]["status"] != expected:
        yield f"Run {linked[0]}: expected {expected}, runlink says {runs[row['runs'][0]]['status']}"


def _root(account: Account, by_id: dict[int, Account]) -> Account:
    while account.parent is not None:
        account = by_id[account.parent]
    return account
