"""What Acme shows, as observations."""

from datetime import datetime
from typing import Any

from runlink.spi import ExecutionStatus as S
from runlink.spi import Observation

STATUS = {"waiting": S.PENDING, "active": S.PROCESSING, "done": S.COMPLETED, "broken": S.FAILED, "stopped": S.CANCELLED}


def observe(row: Any) -> Observation:
    return Observation(
        external_id=row["id"],
        workflow=row["job"],
        status=STATUS[row["state"]],
        native_status=row["state"],
        attempt=row["try"],
        created_at=_time(row["created"]),
        started_at=_time(row["started"]),
        finished_at=_time(row["ended"]),
        parent=row["parent"],
        parameters=row["parameters"],
        message=row["message"],
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
