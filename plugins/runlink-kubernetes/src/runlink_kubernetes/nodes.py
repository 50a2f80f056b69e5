"""From an Argo workflow's `status.nodes` to steps. `translate` comes here.

Argo keeps one flat map: pods, templates (Steps, DAG), groups (StepGroup, TaskGroup) and Retry nodes whose children are
the attempts. A Retry node and its attempts are one step here, told once for each attempt; everything else is a step of
its own, part of its group or of the template that it stands in.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import brotli
import msgspec
import zstandard

from runlink.spi import ExecutionStatus, Step

MAX_NODES_BYTES: Final = 64 << 20
"""Of decompressed nodes; one workflow of 3,000 nodes has 1.6 MB."""
MAX_VALUE_CHARS: Final = 4096

STATUSES: Final = {
    "": ExecutionStatus.PENDING,
    "Pending": ExecutionStatus.PENDING,
    "Running": ExecutionStatus.PROCESSING,
    "Succeeded": ExecutionStatus.COMPLETED,
    "Skipped": ExecutionStatus.COMPLETED,
    "Omitted": ExecutionStatus.COMPLETED,
    "Failed": ExecutionStatus.FAILED,
    "Error": ExecutionStatus.FAILED,
}


class NodesUnreadable(Exception):
    """The nodes are there and cannot be decoded."""


class Parameter(msgspec.Struct):
    """A named value; `value` may be missing (it comes from elsewhere) or, by hand, a number."""

    name: str = ""
    value: Any = None


class Values(msgspec.Struct, rename="camel"):
    """`inputs` or `outputs` of a node. Artifacts are left out: they hold places and secrets' names, not values."""

    parameters: list[Parameter] | None = None
    result: str | None = None
    exit_code: str | None = None


class NodeFlag(msgspec.Struct):
    """Since Argo 3.5."""

    retried: bool = False
    hooked: bool = False


class Node(
    msgspec.Struct,
    rename={
        "display_name": "displayName",
        "boundary_id": "boundaryID",
        "started_at": "startedAt",
        "finished_at": "finishedAt",
        "node_flag": "nodeFlag",
    },
):
    """One of `status.nodes`."""

    id: str = ""
    name: str = ""
    display_name: str = ""
    type: str = ""
    phase: str = ""
    boundary_id: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    message: str | None = None
    children: list[str] | None = None
    inputs: Values | None = None
    outputs: Values | None = None
    node_flag: NodeFlag | None = None


_nodes: Final = msgspec.json.Decoder(dict[str, Node])


def decode(raw: bytes | msgspec.Raw | None, compressed: str | None) -> dict[str, Node]:
    """The nodes of a workflow, whichever way it holds them. Raises NodesUnreadable."""
    try:
        if raw and bytes(raw) != b"null":
            return _nodes.decode(raw)
        return _nodes.decode(decompress(compressed)) if compressed else {}
    except (msgspec.DecodeError, RecursionError) as error:
        raise NodesUnreadable(f"the nodes cannot be decoded: {error}") from error


def decompress(text: str) -> bytes:
    """Argo's `compressedNodes`: base64 of gzip, or since 4.1 of zstd or brotli (which has no magic number).

    Raises NodesUnreadable, also beyond MAX_NODES_BYTES.
    """
    try:
        packed = base64.b64decode(text, validate=True)
        if packed[:2] == b"\x1f\x8b":
            unpacker = zlib.decompressobj(wbits=31)
            plain, whole = unpacker.decompress(packed, MAX_NODES_BYTES), unpacker.eof
        elif packed[:4] == b"\x28\xb5\x2f\xfd":
            reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(packed)
            plain = reader.read(MAX_NODES_BYTES)
            whole = not reader.read(1)
        else:
            plain, whole = _brotli(packed)
    except (binascii.Error, ValueError, zlib.error, zstandard.ZstdError, brotli.error) as error:
        raise NodesUnreadable(f"compressedNodes cannot be decompressed: {error}") from error
    if not whole:
        raise NodesUnreadable(f"compressedNodes are cut off, or more than {MAX_NODES_BYTES} bytes")
    return plain


def _brotli(packed: bytes) -> tuple[bytes, bool]:
    unpacker = brotli.Decompressor()
    pieces: list[bytes] = []
    size = 0
    for start in range(0, len(packed), 4096):
        pieces.append(unpacker.process(packed[start : start + 4096]))
        size += len(pieces[-1])
        if size > MAX_NODES_BYTES:
            return b"", False
    return b"".join(pieces), unpacker.is_finished()


def is_suspended(nodes: Mapping[str, Node]) -> bool:
    """Whether a suspend node waits for somebody (as Argo's own `IsWorkflowSuspended`)."""
    return any(node.type == "Suspend" and node.phase == "Running" for node in nodes.values())


def steps(nodes: Mapping[str, Node]) -> tuple[Step, ...]:
    """All nodes as steps, in the order of the map."""
    attempts, retry_of = _attempts(nodes)
    groups = _groups(nodes)
    told: list[Step] = []
    for key, node in nodes.items():
        if key in retry_of:
            continue  # told as attempts of its Retry node
        within = groups.get(key) or node.boundary_id
        parent = retry_of.get(within, within) or None
        tries = attempts.get(key)
        if not tries:
            told.append(_step(key, node, node, 1, parent, _is_ended(node)))
            continue
        last = len(tries)
        for number, one in enumerate(tries, 1):
            told.append(_step(key, node, one, number, parent, number == last and _is_ended(node)))
    return tuple(told)


def _step(key: str, named: Node, node: Node, attempt: int, parent: str | None, final: bool) -> Step:
    ended = _is_ended(node)
    return Step(
        external_id=key,
        name=named.display_name or named.name or key,
        status=STATUSES.get(node.phase, ExecutionStatus.PROCESSING),
        native_status=node.phase or "(new)",
        attempt=attempt,
        final=final if ended else None,
        started_at=node.started_at,
        finished_at=node.finished_at if ended else None,
        message=node.message or None,
        inputs=_values(node.inputs),
        outputs=_values(node.outputs),
        parent=parent if parent != key else None,
    )


def _is_ended(node: Node) -> bool:
    return STATUSES.get(node.phase, ExecutionStatus.PROCESSING).is_ended


def _attempts(nodes: Mapping[str, Node]) -> tuple[dict[str, list[Node]], dict[str, str]]:
    """Retry node -> its attempts in order; attempt -> its Retry node. Its hooks and exit handlers are no attempts."""
    attempts: dict[str, list[Node]] = {}
    retry_of: dict[str, str] = {}
    for key, node in nodes.items():
        if node.type != "Retry":
            continue
        numbered = []
        for child in node.children or ():
            one = nodes.get(child)
            number = (
                one.name[len(node.name) + 1 : -1] if one is not None and one.name.startswith(f"{node.name}(") else ""
            )
            if one is not None and number.isdigit() and one.name.endswith(")"):
                numbered.append((int(number), child, one))
        numbered.sort(key=lambda found: found[0])
        attempts[key] = [one for _, _, one in numbered]
        retry_of.update({child: key for _, child, _ in numbered})
    return attempts, retry_of


def _groups(nodes: Mapping[str, Node]) -> dict[str, str]:
    """Member -> its StepGroup or TaskGroup. `children` alone would not do: an empty group's child is the next task."""
    found: dict[str, str] = {}
    for key, node in nodes.items():
        if node.type not in ("StepGroup", "TaskGroup"):
            continue
        opening = f"{node.name}." if node.type == "StepGroup" else f"{node.name}("
        for child in node.children or ():
            one = nodes.get(child)
            if one is not None and one.name.startswith(opening):
                found[child] = key
    return found


def _values(values: Values | None) -> dict[str, Any] | None:
    if values is None:
        return None
    told = {p.name: _cut(p.value) for p in values.parameters or () if p.name}
    if values.result is not None:
        told.setdefault("result", _cut(values.result))
    if values.exit_code is not None:
        told.setdefault("exitCode", values.exit_code)
    return told or None


def _cut(value: Any) -> Any:
    return f"{value[:MAX_VALUE_CHARS]}…" if isinstance(value, str) and len(value) > MAX_VALUE_CHARS else value
