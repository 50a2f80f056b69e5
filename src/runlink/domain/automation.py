"""What is to be executed: an Automation, its Batches, their Items. Come here to define work; `executions` tracks it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from runlink.domain.entity import DomainEntity
from runlink.domain.schemas import check_payload, check_schema
from runlink.domain.values import (
    KEEP,
    Keep,
    checked_count,
    checked_id,
    checked_json,
    checked_text,
    moment_of,
    same_json,
)


@dataclass(kw_only=True, eq=False)
class Automation(DomainEntity):
    """The definition of an automated process, and of what the payloads of its batches and items must look like.

    A schema, when there is one, is asked before work is executed: `validate_batch_payload`, `validate_item_payload`.
    """

    name: str
    description: str | None = None
    batch_schema: dict[str, Any] | None = None
    item_schema: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.name = checked_text(self.name, "name")
        _check_schemas(self.batch_schema, self.item_schema)

    def update_schemas(
        self,
        batch_schema: dict[str, Any] | Keep | None = KEEP,
        item_schema: dict[str, Any] | Keep | None = KEEP,
        at: datetime | None = None,
    ) -> None:
        """Replace schemas: one left out is kept, None removes it. Both are checked before either is taken."""
        batch = self.batch_schema if batch_schema is KEEP else batch_schema
        item = self.item_schema if item_schema is KEEP else item_schema
        moment = moment_of(at)
        _check_schemas(batch, item)
        if same_json(batch, self.batch_schema) and same_json(item, self.item_schema):
            return
        self.batch_schema, self.item_schema = batch, item
        self._changed(moment)

    def validate_batch_payload(self, payload: Any) -> None:
        """Raise ValidationError, with every failure and its path, unless the payload fits `batch_schema`."""
        if self.batch_schema is not None:
            check_payload(payload, self.batch_schema, "batch_schema", f"the batch payload of Automation {self.name!r}")

    def validate_item_payload(self, payload: Any) -> None:
        """Raise ValidationError, with every failure and its path, unless the payload fits `item_schema`."""
        if self.item_schema is not None:
            check_payload(payload, self.item_schema, "item_schema", f"the item payload of Automation {self.name!r}")


def _check_schemas(batch_schema: dict[str, Any] | None, item_schema: dict[str, Any] | None) -> None:
    if batch_schema is not None:
        check_schema(batch_schema, "batch_schema")
    if item_schema is not None:
        check_schema(item_schema, "item_schema")


@dataclass(kw_only=True, eq=False)
class _WithPayload(DomainEntity):
    """The payload that Batch and Item have in common."""

    payload: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_json(self.payload, "payload")

    def update_payload(self, payload: Any, at: datetime | None = None) -> None:
        """Replace the payload; None removes it, an equal one changes nothing."""
        moment = moment_of(at)
        checked_json(payload, "payload")
        if not same_json(payload, self.payload):
            self.payload = payload
            self._changed(moment)


@dataclass(kw_only=True, eq=False)
class Batch(_WithPayload):
    """A named group of items within an Automation; `name` is unique there."""

    automation_id: UUID
    name: str

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_id(self.automation_id, "automation_id")
        self.name = checked_text(self.name, "name")


@dataclass(kw_only=True, eq=False)
class Item(_WithPayload):
    """One unit of work; `sequence_number`, from 0, is its unique place within the batch."""

    batch_id: UUID
    sequence_number: int

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_id(self.batch_id, "batch_id")
        checked_count(self.sequence_number, "sequence_number", least=0)
