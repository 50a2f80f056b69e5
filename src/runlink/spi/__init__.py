"""The front door for plugin authors: everything an adapter imports from runlink comes from here."""

from runlink.domain import ExecutionStatus
from runlink.spi.adapter import (
    SPI_VERSION,
    Adapter,
    Cursors,
    Polls,
    Receives,
    Refetches,
    Watches,
    load_schema,
)
from runlink.spi.context import Context
from runlink.spi.errors import (
    AdapterError,
    ConfigRejected,
    CredentialsRejected,
    CursorExpired,
    DeliveryRejected,
    NotFound,
    Refused,
    TransientError,
)
from runlink.spi.hooks import hookimpl
from runlink.spi.http import error_for, json_of, retry_after_s
from runlink.spi.observation import (
    UNKNOWN,
    Attempt,
    Delivery,
    EngineInfo,
    Observation,
    Page,
    Receipt,
    Revision,
    Step,
    Unknown,
    Unreadable,
    page_of,
)

__all__ = [
    "SPI_VERSION",
    "UNKNOWN",
    "Adapter",
    "AdapterError",
    "Attempt",
    "ConfigRejected",
    "Context",
    "CredentialsRejected",
    "CursorExpired",
    "Cursors",
    "Delivery",
    "DeliveryRejected",
    "EngineInfo",
    "ExecutionStatus",
    "NotFound",
    "Observation",
    "Page",
    "Polls",
    "Receipt",
    "Receives",
    "Refetches",
    "Refused",
    "Revision",
    "Step",
    "TransientError",
    "Unknown",
    "Unreadable",
    "Watches",
    "error_for",
    "hookimpl",
    "json_of",
    "load_schema",
    "page_of",
    "retry_after_s",
]
