"""What a Prefect automation's webhook says. The adapter's `receive` comes here.

The body is whatever the webhook block's payload makes of an event; ours is in the README, and the recordings hold what
really came. It names the flow run, which is then read by id: a push can be late, and tells a part only.
"""

import json
import re
from typing import Any, Final

from runlink.spi import DeliveryRejected, Receipt
from runlink_prefect.translate import is_flow_run_id

_NAMED: Final = re.compile(r"prefect\.flow-run\.([0-9a-f-]{36})")


def receipt(body: bytes) -> Receipt:
    """The flow run to read again. Heartbeats name none. Raises DeliveryRejected for what names no flow run."""
    try:
        content = json.loads(body)
    except ValueError as error:
        raise DeliveryRejected(f"the body is not JSON ({error}); see the README for the webhook's payload") from error
    if not isinstance(content, dict):
        raise DeliveryRejected("the body is no JSON object; see the README for the webhook's payload")
    if content.get("event") == "prefect.flow-run.heartbeat":
        return Receipt()
    run = _flow_run(content)
    if run is None:
        raise DeliveryRejected("the body has no flow_run_id; see the README for the webhook's payload")
    return Receipt(refetch=(run,))


def _flow_run(content: dict[str, Any]) -> str | None:
    """`flow_run_id`, or the resource of a whole event."""
    run = content.get("flow_run_id")
    if not isinstance(run, str):
        resource = content.get("resource")
        name = resource.get("prefect.resource.id") if isinstance(resource, dict) else None
        match = _NAMED.fullmatch(name) if isinstance(name, str) else None
        run = match[1] if match else ""
    return run if is_flow_run_id(run) else None
