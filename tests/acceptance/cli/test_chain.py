"""A Jenkins build starts an Argo workflow, which starts an Airflow run: three engines, their real adapters, one Run.

The engines are the fakes of the plugins' own tests, which are held to recordings of real ones; what stands in them is
recorded, but for what is passed on from one to the next.
"""

from __future__ import annotations

import copy
import importlib.util
import itertools
import json
import sys
from pathlib import Path

import httpx
import pytest

from runlink.testing import serve_exchanges

PLUGINS = Path(__file__).parents[3] / "plugins"
KEY = "release-4.2"
SECRET = "s3cret-word"
BUILD = "shop/release#1@1795445001000"

RELEASE = """
[[links]]
name = "release"
engine = "jenkins"
workflow = "shop/release"
automation = "release"
run_key = "parameters.RUN_ID"
"""
BY_ADDRESS = """
[[links]]
name = "argo, by the build's address"
engine = "argo"
parent = { engine = "jenkins", match = "parameters.from_url", with = "url" }
"""
BY_KEY = """
[[links]]
name = "argo, by the key passed on"
engine = "argo"
automation = "release"
run_key = "parameters.run_id"
"""
BY_PARENT = """
[[links]]
name = "airflow, by its parent's id"
engine = "airflow"
parent = { type = "argo", match = "parameters.argo_workflow", with = "metadata.uid" }
"""
BY_TOKEN = """
[[links]]
name = "airflow, by a token that both carry"
engine = "airflow"
parent = { engine = "argo", match = "parameters.token", with = "parameters.token" }
"""
BY_STEP = """
[[links]]
name = "airflow, by the address a step of argo's stores"
engine = "airflow"
parent = { engine = "argo", match = "url", with = "steps[].outputs.dag_run_url" }
"""


def load(plugin, module):
    """A module of a plugin's tests, which are no package."""
    path = PLUGINS / plugin / "tests" / f"{module}.py"
    name = f"{plugin}_{module}".replace("-", "_")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class Chain:
    """Three engines on loopback, each with one link of the chain and one run that has nothing to do with it."""

    def __init__(self, jenkins, cluster, airflow, urls):
        self.jenkins, self.cluster, self.airflow, self.urls = jenkins, cluster, airflow, urls
        self.build_url = f"{urls['jenkins']}/job/shop/job/release/1/"

    def start(self):
        """All three run."""
        given = [{"_class": "hudson.model.StringParameterValue", "name": "RUN_ID", "value": KEY}]
        action = {"_class": "hudson.model.ParametersAction", "parameters": given}
        self.build = self.jenkins.build("shop/release", building=True, result=None, actions=[action])
        self.jenkins.build("shop/other", building=False)
        recorded = load("runlink-kubernetes", "fake_cluster").recorded_items()
        (item,) = (i for i in recorded if i["metadata"]["name"] == "build-image-vk8sd")
        self.workflow = copy.deepcopy(item)
        self.workflow["spec"]["arguments"]["parameters"] += [
            {"name": "from_url", "value": self.build_url},
            {"name": "run_id", "value": KEY},
            {"name": "token", "value": "t-17"},
        ]
        self.cluster.load([self.workflow, next(i for i in recorded if i["metadata"]["name"] == "suspend")], 10_000_000)
        conf = {"argo_workflow": self.workflow["metadata"]["uid"], "token": "t-17"}
        self.airflow.at(7)
        row = next(row for row in self.airflow.runs if row["state"] == "running")
        row["conf"] = row["conf"] | conf
        self.dag_run_url = f"{self.urls['airflow']}/dags/{row['dag_id']}/runs/{row['dag_run_id'].replace(':', '%3A')}"
        self.dag_run_url = self.dag_run_url.replace("+", "%2B")
        (node,) = self.workflow["status"]["nodes"].values()
        node["outputs"] = {"parameters": [{"name": "dag_run_url", "value": self.dag_run_url}]}

    def end(self):
        """All three have ended well."""
        self.build.set(building=False, result="SUCCESS", duration=60_000)
        meta = self.workflow["metadata"]
        (node,) = copy.deepcopy(self.workflow["status"]["nodes"]).values()
        node |= {"phase": "Succeeded", "finishedAt": "2026-11-20T10:05:00Z"}
        ended = {"phase": "Succeeded", "finishedAt": "2026-11-20T10:05:00Z", "nodes": {node["id"]: node}}
        self.cluster.change(meta["namespace"], meta["name"], **ended)
        row = next(row for row in self.airflow.runs if row["state"] == "running")
        row |= {"state": "success", "end_date": "2026-11-23T14:36:00Z", "_updated_at": self.airflow.now}


@pytest.fixture
def chain():
    fake_jenkins = load("runlink-jenkins", "fake_jenkins").FakeJenkins(user="runlink", token=SECRET)
    fake_airflow = load("runlink-airflow", "conftest").FakeAirflow()

    def ask_airflow(method, path, headers, body):
        answer = fake_airflow.answer(httpx.Request(method, f"http://airflow{path}", headers=headers, content=body))
        return answer.status_code, dict(answer.headers), answer.content

    with (
        serve_exchanges(fake_jenkins.handle) as jenkins,
        serve_exchanges(ask_airflow) as airflow,
        load("runlink-kubernetes", "fake_cluster").FakeCluster() as cluster,
    ):
        urls = {"jenkins": jenkins.url.rstrip("/"), "argo": cluster.url, "airflow": airflow.url.rstrip("/")}
        yield Chain(fake_jenkins, cluster, fake_airflow, urls)


def configure(place, chain, *rules):
    (place.path / "secret").write_text(SECRET)
    secret = '{ file = "secret" }'
    keys = {
        "jenkins": f'user = "runlink"\ntoken = {secret}',
        "argo": f"token = {secret}",
        "airflow": f'user = "runlink"\npassword = {secret}',
    }
    text = "[server]\nenabled = false\n"
    text += '[automations.release]\nexpected = ["shop/release", "ci/build-image", "*_pipeline"]\n'
    for name, url in chain.urls.items():
        text += f'[engines.{name}]\ntype = "{name}"\nurl = "{url}"\nlookback_s = 3e9\n{keys[name]}\n'
    place.config.write_text(text + "".join(rules))


def linked(place):
    """engine -> rule of the instances that count for the Run."""
    told = place.ok("explain", KEY, "-o", "json").json
    return {row["engine"]: row["link"]["rule"] for row in told["instances"]}


ALL = {"jenkins": "release", "argo": "argo, by the build's address", "airflow": "airflow, by its parent's id"}


@pytest.mark.parametrize("order", list(itertools.permutations(("jenkins", "argo", "airflow"))), ids="-".join)
def test_the_chain_is_stitched_whichever_engine_is_read_first(place, chain, order):
    configure(place, chain, RELEASE, BY_ADDRESS, BY_PARENT)
    chain.start()
    place.ok("runs", "create", "--automation", "release", "--key", KEY)
    for engine in order:
        place.ok("sync", "--engine", engine)
    assert linked(place) == ALL
    assert place.rows("runs", "list")[0]["status"] == "PROCESSING"
    assert len(place.rows("instances", "list", "--unlinked")) > 3


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((BY_ADDRESS, BY_PARENT), ALL),
        ((BY_KEY, BY_PARENT), ALL | {"argo": "argo, by the key passed on"}),
        ((BY_ADDRESS, BY_TOKEN), ALL | {"airflow": "airflow, by a token that both carry"}),
        ((BY_KEY, BY_STEP), {"jenkins": "release", "argo": "argo, by the key passed on",
                             "airflow": "airflow, by the address a step of argo's stores"}),
    ],
    ids=["address-parent", "key-parent", "address-token", "key-step"],
)  # fmt: skip
def test_each_way_to_stitch_it(place, chain, rules, expected):
    configure(place, chain, RELEASE, *rules)
    chain.start()
    place.ok("runs", "create", "--automation", "release", "--key", KEY)
    place.ok("sync")
    assert linked(place) == expected
    before = place.ok("explain", KEY, "-o", "json").json["instances"]
    place.ok("relink", "--since", "9999d")
    assert place.ok("explain", KEY, "-o", "json").json["instances"] == before


def test_the_run_follows_the_whole_chain_and_can_be_taken_apart_and_put_together(place, chain):
    configure(place, chain, RELEASE, BY_ADDRESS, BY_PARENT)
    chain.start()
    place.ok("sync")
    place.ok("runs", "create", "--automation", "release", "--key", KEY)  # after its instances were seen
    assert linked(place) == ALL
    drawn = place.ok("explain", KEY).out
    assert all(name in drawn for name in ("jenkins shop/release", "argo ci/build-image", "airflow long_pipeline"))
    said = place.ok("unlink", KEY, BUILD)
    assert "with it went what it had started: 2 links" in said.err
    assert linked(place) == {}
    assert json.loads(place.ok("plan", "-o", "json").out)["rules"][0]["linked"] == 0  # a hand took it off
    place.ok("link", KEY, BUILD)
    assert linked(place) == ALL | {"jenkins": None}
    chain.end()
    place.ok("sync")
    told = place.ok("explain", KEY, "-o", "json").json
    assert (told["status"], told["waiting"]) == ("COMPLETED", None)
    assert {row["engine"]: row["status"] for row in told["instances"]} == dict.fromkeys(ALL, "COMPLETED")


MAPPED = """
[[links]]
name = "mapped"
engine = "airflow"
workflow = "mapped_pipeline"
automation = "squares"
run_key = "parameters.run_id"
create_run = true

[[items]]
engine = "airflow"
workflow = "mapped_pipeline"
steps = "square*"
each = "steps"
create = true
"""


def test_mapped_tasks_of_airflow_are_items_by_the_rule_of_the_how_to(place, chain):
    configure(place, chain, MAPPED)
    chain.start()
    place.ok("sync", "--engine", "airflow")  # a baseline: no Run is made
    place.ok("runs", "create", "--automation", "squares", "--key", "rl-0004")
    place.ok("sync", "--engine", "airflow")  # steps are asked for now that it counts for a Run
    rows = place.rows("executions", "list")
    told = sorted((row["batch"], row["sequence_number"], row["status"]) for row in rows)
    assert told == [
        ("square (rl-0004)", 0, "COMPLETED"),
        ("square (rl-0004)", 1, "COMPLETED"),
        ("square (rl-0004)", 2, "FAILED"),
        ("square (rl-0004)", 3, "COMPLETED"),
    ]
    assert place.ok("items", "drift").out == ""
