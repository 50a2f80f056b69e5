"""What `check` asks of a cluster: its version, whether the kind is served, and what may be done with it.

The adapter comes here. Each missing permission is told with the RBAC rule to add.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from runlink.spi import ConfigRejected, CredentialsRejected, TransientError
from runlink_kubernetes.connection import Cluster
from runlink_kubernetes.objects import Kind
from runlink_kubernetes.translate import TTL, Workflow

SAMPLE: Final = 50
"""Objects looked at for their time to live."""
SHORT_TTL_S: Final = 86400


def server_version(cluster: Cluster) -> str:
    """`gitVersion` of the API server."""
    told = cluster.get("/version").object("the version of the API server")
    return str(told.get("gitVersion") or "unknown")


def require_kind(cluster: Cluster, kind: Kind[Any]) -> None:
    """Raises ConfigRejected when the server does not serve the kind."""
    missing = f"{kind.plural}.{kind.group}/{kind.version} is not served by {cluster.address}"
    try:
        told = cluster.get(kind.api).object(f"what is served of {kind.group}/{kind.version}")
    except TransientError as error:
        if "HTTP 404" in str(error):
            raise ConfigRejected(f"{missing}: install {kind.title} (its CRDs), then reload") from error
        raise
    if kind.plural not in {each.get("name") for each in told.get("resources") or ()}:
        raise ConfigRejected(f"{missing}: install {kind.title} (its CRDs), then reload")


def missing_permissions(
    cluster: Cluster, kind: Kind[Any], scopes: Iterable[str], verbs: Sequence[str]
) -> dict[str, list[str]]:
    """scope -> the verbs that this account may not use there, by SelfSubjectAccessReview (any account may ask)."""
    found: dict[str, list[str]] = {}
    for scope in scopes:
        denied = [verb for verb in verbs if not _may(cluster, kind, scope, verb)]
        if denied:
            found[scope] = denied
    return found


def _may(cluster: Cluster, kind: Kind[Any], scope: str, verb: str) -> bool:
    attributes = {"verb": verb, "group": kind.group, "resource": kind.plural, "namespace": scope}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = cluster.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    status = answer.object("whether this account may do so").get("status")
    return isinstance(status, dict) and bool(status.get("allowed"))


def permission_warnings(kind: Kind[Any], missing: dict[str, list[str]], scopes: Sequence[str]) -> tuple[str, ...]:
    """A sentence for each scope. Raises CredentialsRejected when nothing at all can be listed."""
    told = tuple(_sentence(kind, scope, verbs) for scope, verbs in missing.items())
    if all("list" in missing.get(scope, ()) for scope in scopes):
        raise CredentialsRejected("; ".join(told))
    return told


def _sentence(kind: Kind[Any], scope: str, verbs: Sequence[str]) -> str:
    where = f"in namespace {scope}" if scope else "in all namespaces"
    role = f"a Role in {scope}" if scope else "a ClusterRole"
    listed = ", ".join(verbs)
    rule = f'{{apiGroups: ["{kind.group}"], resources: ["{kind.plural}"], verbs: [{listed}]}}'
    return f"this account may not {listed} {kind.plural}.{kind.group} {where}: add to {role} the rule {rule}"


def ttl_warning(sample: Sequence[Workflow], *, has_archive: bool) -> str | None:
    """Whether ended workflows are deleted so soon that their ends are lost when runlink is down meanwhile."""
    limits = [limit for limit in map(_ttl_s, sample) if limit is not None]
    if not limits or has_archive or min(limits) >= SHORT_TTL_S:
        return None
    return (
        f"of {len(sample)} workflows looked at, {len(limits)} are deleted after they end, the first {min(limits)} s "
        "after: an end that falls in a longer pause of runlink is lost; set argo_server_url (with Argo's workflow "
        "archive on), a longer ttlStrategy, or finalizer = true"
    )


def _ttl_s(workflow: Workflow) -> int | None:
    found: list[int] = []
    stored = workflow.status.stored_workflow_template_spec if workflow.status else None
    for spec in (workflow.spec, stored):
        ttl: TTL | None = spec.ttl_strategy if spec else None
        if ttl is not None:
            told = (ttl.seconds_after_completion, ttl.seconds_after_success, ttl.seconds_after_failure)
            found += [limit for limit in told if limit is not None]
    return min(found) if found else None
