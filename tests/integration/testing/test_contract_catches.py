"""The contract against adapters that are broken on purpose: exactly the promise that is broken fails, and says so."""

from __future__ import annotations

import pytest
from broken_adapters import BROKEN, SLOW, LosesARunNowAndThen
from scripted_rocket import RocketEngine

from runlink.testing import AdapterContract, PromiseBroken


def contract_of(adapter, engine):
    return type(f"Of{adapter.__name__}", (AdapterContract,), {
        "adapter": adapter, "engine": engine, "config": {"token": "t0ken-0f-acme"}, "examples": 40,
    })  # fmt: skip


def broken_promises(contract, names):
    """test name -> how it failed."""
    found = {}
    for name in names:
        try:
            getattr(contract(), name)()
        except Exception as error:
            found[name] = error
    return found


@pytest.mark.parametrize(("adapter", "engine", "expected"), BROKEN, ids=lambda each: getattr(each, "__name__", ""))
def test_exactly_the_broken_promises_fail(adapter, engine, expected):
    contract = contract_of(adapter, engine)
    names = [n for n in dir(contract) if n.startswith("test_") and getattr(contract, n) is not None]
    assert expected <= set(names)
    failed = broken_promises(contract, [n for n in names if n not in SLOW or n in expected])
    assert failed.keys() == expected, {name: str(error)[:200] for name, error in failed.items()}


def test_a_life_finds_what_no_story_has():
    contract = contract_of(LosesARunNowAndThen, RocketEngine)
    names = [n for n in dir(contract) if n.startswith("test_") and getattr(contract, n) is not None]
    assert broken_promises(contract, [n for n in names if n not in SLOW]) == {}
    with pytest.raises(PromiseBroken, match="is not told as"):
        contract().test_any_life_ends_the_same()


def test_what_is_exempt_must_exist_and_is_not_collected():
    members = {"adapter": BROKEN[0][0], "engine": RocketEngine}
    exempt = {"test_each_request_is_counted": "it has no requests"}
    contract = type("Exempt", (AdapterContract,), {**members, "exempt": exempt})
    assert contract.test_each_request_is_counted is None
    assert contract.inapplicable["test_each_request_is_counted"] == "it has no requests"
    with pytest.raises(TypeError, match="names test_no_such; the contract has no such test"):
        type("Wrong", (AdapterContract,), {**members, "exempt": {"test_no_such": "because"}})
