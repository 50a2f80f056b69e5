"""The contract against adapters that are broken on purpose: exactly the promise that is broken fails, and says so.

An adapter is held against every promise of the parts of the contract in which it breaks one, and of one more part,
another one for each adapter; what is slow is asked of those alone that break it. The adapters of `test_contract_holds`
keep all of it.
"""

from __future__ import annotations

import itertools

import pytest
from broken_adapters import BROKEN, SLOW, LosesARunNowAndThen
from hypothesis import Phase, settings
from scripted_rocket import RocketEngine

from runlink.testing import AdapterContract, PromiseBroken

pytestmark = pytest.mark.timeout(600)  # a whole contract each, on a busy machine

PARTS = [
    {name for name in vars(part) if name.startswith("test_")}
    for part in AdapterContract.__mro__
    if any(name.startswith("test_") for name in vars(part))
]


def contract_of(adapter, engine):
    return type(f"Of{adapter.__name__}", (AdapterContract,), {
        "adapter": adapter, "engine": engine, "config": {"token": "t0ken-0f-acme"}, "examples": 40,
        "listed": 120,  # two pages, as few as tell whether the second one counts
    })  # fmt: skip


def promises_of(contract):
    return {name for name in dir(contract) if name.startswith("test_") and getattr(contract, name) is not None}


def broken_promises(contract, names):
    """test name -> how it failed."""
    found = {}
    for name in sorted(names):
        try:
            getattr(contract(), name)()
        except Exception as error:
            found[name] = error
    return found


@pytest.mark.parametrize(
    ("adapter", "engine", "expected", "further"),
    [(*one, part) for one, part in zip(BROKEN, itertools.cycle(PARTS), strict=False)],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_exactly_the_broken_promises_fail(adapter, engine, expected, further):
    contract = contract_of(adapter, engine)
    names = promises_of(contract)
    assert expected <= names
    asked = set().union(further, *(part for part in PARTS if part & expected))
    failed = broken_promises(contract, (names & asked - SLOW) | expected)
    assert failed.keys() == expected, {name: str(error)[:200] for name, error in failed.items()}


def test_each_part_of_the_contract_is_tried_with_adapters_that_break_another():
    assert len(PARTS) == 8
    assert len(BROKEN) > 3 * len(PARTS)
    broken = set().union(*(expected for _, _, expected in BROKEN))
    assert SLOW - broken == {"test_any_life_ends_the_same"}  # which the test below has


def test_a_life_finds_what_no_story_has():
    contract = contract_of(LosesARunNowAndThen, RocketEngine)
    assert broken_promises(contract, promises_of(contract) - SLOW) == {}
    before = settings._current_profile
    settings.register_profile("as it is found", phases=[Phase.generate])  # to make it small takes twice as long
    settings.load_profile("as it is found")
    try:
        with pytest.raises(PromiseBroken, match="is not told as"):
            contract().test_any_life_ends_the_same()
    finally:
        settings.load_profile(before)


def test_what_is_exempt_must_exist_and_is_not_collected():
    members = {"adapter": BROKEN[0][0], "engine": RocketEngine}
    exempt = {"test_each_request_is_counted": "it has no requests"}
    contract = type("Exempt", (AdapterContract,), {**members, "exempt": exempt})
    assert contract.test_each_request_is_counted is None
    assert contract.inapplicable["test_each_request_is_counted"] == "it has no requests"
    with pytest.raises(TypeError, match="names test_no_such; the contract has no such test"):
        type("Wrong", (AdapterContract,), {**members, "exempt": {"test_no_such": "because"}})
