"""The kustomize base in deploy/kubernetes: well formed, of one piece, and granting what is asked for, no more."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml
from fake_cluster import FakeCluster

from runlink_kubernetes import runlink_adapters

BASE = Path(__file__).parents[3] / "deploy" / "kubernetes"
NAMES = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
OBJECTS = [each for name in NAMES for each in yaml.safe_load_all((BASE / name).read_text())]
SHAPE = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata"],
    "properties": {
        "apiVersion": {"enum": ["v1", "apps/v1", "rbac.authorization.k8s.io/v1"]},
        "metadata": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "pattern": "^[a-z0-9-]+$"}},
        },
        "spec": {"type": "object"},
        "rules": {
            "items": {
                "required": ["apiGroups", "resources", "verbs"],
                "additionalProperties": {"type": "array", "items": {"type": "string"}},
            }
        },
    },
}


def of(kind):
    (found,) = [each for each in OBJECTS if each["kind"] == kind]
    return found


@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: item["kind"])
def test_shape(item):
    jsonschema.validate(item, SHAPE)
    cluster_wide = item["kind"] in ("Namespace", "ClusterRole", "ClusterRoleBinding")
    assert item["metadata"].get("namespace", "runlink") == "runlink"
    assert ("namespace" in item["metadata"]) != cluster_wide


def test_every_file_is_named():
    assert {path.name for path in BASE.glob("*.yaml")} == {*NAMES, "kustomization.yaml"}


def test_the_parts_fit():
    pod = of("Deployment")["spec"]["template"]
    assert of("Deployment")["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert pod["spec"]["serviceAccountName"] == of("ServiceAccount")["metadata"]["name"]
    (container,) = pod["spec"]["containers"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    assert volumes["config"]["configMap"]["name"] == of("ConfigMap")["metadata"]["name"]
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == of("PersistentVolumeClaim")["metadata"]["name"]
    (file,) = of("ConfigMap")["data"]
    assert container["env"][0] == {"name": "RUNLINK_CONFIG", "value": f"/etc/runlink/{file}"}
    binding = of("ClusterRoleBinding")
    assert binding["roleRef"]["name"] == of("ClusterRole")["metadata"]["name"]
    assert binding["subjects"][0]["name"] == of("ServiceAccount")["metadata"]["name"]


def test_the_configuration_is_valid_for_the_plugins():
    settings = tomllib.loads(of("ConfigMap")["data"]["runlink.toml"])
    host_keys = {"type", "url", "poll_interval_s"}
    adapters = {cls.name: cls for cls in runlink_adapters()}
    for engine in settings["engines"].values():
        options = {key: value for key, value in engine.items() if key not in host_keys}
        jsonschema.validate(options, adapters[engine["type"]].config_schema)


def test_the_role_grants_what_is_used_and_no_more(make_adapter):
    """Every request of a check, a poll, a refetch and a watch, against the rules."""
    granted = {
        (group, resource, verb)
        for rule in of("ClusterRole")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    used = set()
    for cls, plural, api in zip(
        runlink_adapters(), ("workflows", "jobs"), ("/apis/argoproj.io/v1alpha1", "/apis/batch/v1"), strict=True
    ):
        with FakeCluster(plural, api) as cluster:
            adapter = make_adapter(cluster, cls)
            adapter.check()
            list(adapter.poll({}))
            list(adapter.refetch(["a/b@c"]))
            with pytest.raises(Exception, match="ends as soon"):
                list(adapter.watch({"all": "1"}))
            for method, path, query, _ in cluster.requests:
                if not path.startswith(f"{api}/"):
                    continue
                verb = "watch" if "watch" in query else "list" if path.endswith(plural) else "get"
                assert method == "GET"
                used.add((api.split("/")[2], plural, verb))
    assert used == granted


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here; the shapes above are checked")
def test_kustomize_builds_it():
    done = subprocess.run(["kubectl", "kustomize", str(BASE)], capture_output=True, timeout=60, check=False)
    if b"is not" in done.stderr and b"kustomize" in done.stderr:
        pytest.skip("this kubectl has no kustomize")
    assert done.returncode == 0, done.stderr
    kinds = sorted(each["kind"] for each in yaml.safe_load_all(done.stdout))
    assert kinds == sorted(each["kind"] for each in OBJECTS)
