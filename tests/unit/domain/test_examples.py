"""The examples of docs/reference/domain-entities.md, run as they stand there, one after another."""

import re
from pathlib import Path

import pytest

import runlink.domain
from runlink.domain import ExecutionStatus, RunCompleted

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "domain-entities.md"
EXAMPLES = re.findall(r"### \[(\w+)\].*?```python\n(.*?)```", REFERENCE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def after_examples():
    names = {name: getattr(runlink.domain, name) for name in runlink.domain.__all__}
    for entity, code in EXAMPLES:
        # `{...}` stands for "some schema" in the page; to Python it is a set.
        exec(compile(code.replace("{...}", '{"type": "object"}'), f"the example of {entity}", "exec"), names)
    return names


def test_the_page_has_an_example_of_each_of_the_ten_entities():
    assert [entity for entity, _ in EXAMPLES] == [
        "Automation", "Batch", "Item", "Run", "BatchExecution", "ItemExecution", "ItemStateHistory", "Engine",
        "OrchestrationInstance", "RunOrchestration",
    ]  # fmt: skip


def test_examples_end_as_their_comments_say(after_examples):
    names = after_examples
    assert names["automation"].batch_schema == {"type": "object"}
    assert names["automation"].version == 2
    assert (names["run"].status, names["run"].version) == (ExecutionStatus.COMPLETED, 3)
    assert isinstance(names["run"].pull_events()[-1], RunCompleted)
    assert names["batch_exec"].status is ExecutionStatus.COMPLETED
    assert names["item_exec"].attempt_count == 1
    assert names["item_exec"].status is ExecutionStatus.RETRYING
    assert names["history"].new_status is ExecutionStatus.PROCESSING
    assert names["instance"].duration_seconds >= 0
    assert names["link"].attached_at is not None
