"""A sync of a cluster through the kubernetes client is recorded without its token, and makes the same tables again."""

from datetime import UTC, datetime

from runlink.testing import EngineSettings, record, replay
from runlink_kubernetes import ArgoAdapter

TOKEN = "t0ken-of-the-cluster"
SINCE = datetime(2019, 1, 1, tzinfo=UTC)
KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "%s"}}]
users: [{name: u, user: {token: "%s"}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


def test_what_is_recorded_makes_the_same_tables(tmp_path, cluster):
    options = {"token": TOKEN, "page_size": 10}
    settings = EngineSettings(name="argo", type="argo", url=cluster.url, options=options)
    live = record(ArgoAdapter, settings, tmp_path / "one", since=SINCE)
    assert live.error is None
    assert live.instances > 10
    again = replay(ArgoAdapter, tmp_path / "one")
    assert again.is_same, (again.differences, again.missing, again.unused)
    assert again.tables == live.tables
    assert not [path for path in (tmp_path / "one").iterdir() if TOKEN in path.read_text()]


def test_an_account_that_is_not_here_can_be_left_out(tmp_path, cluster):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG % (cluster.url, TOKEN))
    settings = EngineSettings(
        name="argo", type="argo", url="https://kubernetes.test", options={"kubeconfig": str(kubeconfig)}
    )
    live = record(ArgoAdapter, settings, tmp_path / "one", since=SINCE)
    assert live.error is None
    kubeconfig.unlink()
    assert replay(ArgoAdapter, tmp_path / "one").error is not None
    assert replay(ArgoAdapter, tmp_path / "one", kubeconfig=None).is_same
    assert not [path for path in (tmp_path / "one").iterdir() if TOKEN in path.read_text()]
