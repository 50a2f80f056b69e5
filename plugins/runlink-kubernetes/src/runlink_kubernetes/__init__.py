"""Argo Workflows and Kubernetes Jobs for runlink. The host comes here, through the entry-point group `runlink`."""

from collections.abc import Iterable

from runlink.spi import Adapter, hookimpl
from runlink_kubernetes.adapter import ArgoAdapter
from runlink_kubernetes.jobs import KubernetesJobAdapter

__all__ = ["ArgoAdapter", "KubernetesJobAdapter", "runlink_adapters"]


@hookimpl
def runlink_adapters() -> Iterable[type[Adapter]]:
    """Two kinds of object, one way to follow them."""
    return [ArgoAdapter, KubernetesJobAdapter]
