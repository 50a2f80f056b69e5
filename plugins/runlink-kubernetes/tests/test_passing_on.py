"""The template that docs/how-to/pass-the-run-id.md shows to whoever submits workflows, held against recorded ones."""

import json
import re
from pathlib import Path

import yaml
from fake_cluster import recorded_items

from runlink_kubernetes.objects import Codec
from runlink_kubernetes.translate import WORKFLOW, Surroundings, observe

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "pass-the-run-id.md"
SPEC = yaml.safe_load(re.search(r"\*\*An Argo template\*\*.*?```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1])


def fields(value, path=()):
    """The paths of all fields, lists taken for their items."""
    if isinstance(value, list):
        return {path}.union(*(fields(one, path) for one in value))
    if isinstance(value, dict):
        return {path}.union(*(fields(one, (*path, name)) for name, one in value.items()))
    return {path}


def test_the_documented_fields_are_those_of_recorded_workflows():
    recorded = set().union(*(fields({"spec": item["spec"]}) for item in recorded_items()))
    env = {("spec", "templates", "container", "env", *more) for more in ((), ("name",), ("value",))}
    assert fields(SPEC) - env <= recorded  # env is any Kubernetes container's, and none of the recorded ones has it
    assert SPEC["spec"]["entrypoint"] in {template["name"] for template in SPEC["spec"]["templates"]}


def test_what_is_submitted_with_it_tells_the_run_id():
    (item,) = [item for item in recorded_items() if item["metadata"]["name"] == "build-image-vk8sd"]
    item["spec"] |= SPEC["spec"]
    (parameter,) = item["spec"]["arguments"]["parameters"]
    parameter["value"] = "2026-11-23"  # argo submit -p RUN_ID=2026-11-23
    told = observe(Codec(WORKFLOW).item(json.dumps(item).encode()), Surroundings())
    assert told.parameters["RUN_ID"] == "2026-11-23"
