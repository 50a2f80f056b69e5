"""What `check` finds, how a cluster is reached, and the finalizer mode."""

import json

import pytest

from runlink.spi import ConfigRejected, CredentialsRejected
from runlink_kubernetes import ArgoAdapter, KubernetesJobAdapter, runlink_adapters


def test_both_adapters_are_found():
    assert [cls.name for cls in runlink_adapters()] == ["argo", "kubernetes-job"]
    assert ArgoAdapter.default_poll_interval_s == 600.0


def test_a_missing_permission_is_told_with_its_rule(cluster, make_adapter):
    cluster.denied = {("watch", "")}
    warnings = make_adapter(cluster).check().warnings
    assert any('{apiGroups: ["argoproj.io"], resources: ["workflows"], verbs: [watch]}' in w for w in warnings)
    cluster.denied = {(verb, "ci") for verb in ("get", "list", "watch")}
    adapter = make_adapter(cluster, config={"namespaces": ["ci", "argo"]})
    assert any("a Role in ci" in w for w in adapter.check().warnings)
    with pytest.raises(CredentialsRejected, match="get, list, watch"):
        make_adapter(cluster, config={"namespaces": ["ci"]}).check()


def test_no_crd(cluster, make_adapter):
    cluster.overrides[cluster.api] = (404, {"Content-Type": "text/plain"}, b"404 page not found\n")
    with pytest.raises(ConfigRejected, match="CRD"):
        make_adapter(cluster).check()


def test_a_short_ttl_without_an_archive(cluster, make_adapter):
    assert any("deleted after they end" in w for w in make_adapter(cluster).check().warnings)
    with_archive = make_adapter(cluster, config={"argo_server_url": cluster.url})
    assert with_archive.check().warnings == ()
    cluster.archive_down = True
    assert any("argo_server_url" in w for w in with_archive.check().warnings)


@pytest.mark.parametrize("name", ["16", "40"])
def test_a_bad_token(name, cluster, make_adapter):
    from fake_cluster import recorded

    answer = recorded(name)
    cluster.overrides[f"{cluster.api}/workflows"] = (answer["status"], {}, answer["body"].encode())
    with pytest.raises(CredentialsRejected, match="Unauthorized"):
        list(make_adapter(cluster).poll({}))
    with pytest.raises(CredentialsRejected):
        list(make_adapter(cluster).watch({"all": "1"}))


def test_a_kubeconfig(cluster, make_adapter, tmp_path):
    path = tmp_path / "config"
    text = {
        "apiVersion": "v1", "kind": "Config", "current-context": "b",
        "clusters": [{"name": "c", "cluster": {"server": cluster.url}}],
        "users": [{"name": "u", "user": {"token": "from-the-file"}}],
        "contexts": [{"name": "b", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
    path.write_text(json.dumps(text))
    adapter = make_adapter(cluster, config={"kubeconfig": str(path), "context": "b"})
    assert len(next(iter(adapter.poll({}))).observations) == 51
    assert cluster.requests[-1][3]["authorization"] == "Bearer from-the-file"
    with pytest.raises(ConfigRejected, match="cluster's configuration"):
        list(make_adapter(cluster, config={"kubeconfig": str(tmp_path / "none")}).poll({}))
    with pytest.raises(ConfigRejected):
        list(make_adapter(cluster, config={"in_cluster": True}).poll({}))


def test_the_finalizer_holds_until_the_end_is_stored(cluster, make_host):
    host = make_host(cluster, config={"finalizer": True, "namespaces": ["ci"]})
    assert host.poll()
    finalizer = "runlink.io/test"
    assert cluster.get("ci", "build-image-vk8sd")["metadata"]["finalizers"] == [finalizer]
    assert "finalizers" not in cluster.get("ci", "terminated-x5n8p")["metadata"]
    item = cluster.get("ci", "build-image-vk8sd")
    item["metadata"]["deletionTimestamp"] = "2026-11-23T15:00:01Z"
    cluster.change("ci", "build-image-vk8sd", phase="Succeeded", finishedAt="2026-11-23T15:00:00Z")
    host.watch()
    assert host.status("build-image-vk8sd") == ("COMPLETED", "Succeeded")
    assert cluster.get("ci", "build-image-vk8sd") is None  # let go, after it was stored
    assert any("patch" in w for w in _denied_patch(cluster, host))


def _denied_patch(cluster, host):
    cluster.denied = {("patch", "ci")}
    return host.adapter.check().warnings


def test_schemas_are_closed():
    for cls in (ArgoAdapter, KubernetesJobAdapter):
        assert cls.config_schema["additionalProperties"] is False
        assert cls.config_schema["properties"]["token"]["x-secret"] is True
