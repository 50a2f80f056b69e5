"""OpenTelemetry's side of `application.tracing`: spans to a collector. Bootstrap comes here where there is `[tracing]`.

Needs the extra `runlink[otel]`. Beside the endpoint OpenTelemetry's own variables hold (`OTEL_EXPORTER_OTLP_HEADERS`,
`OTEL_RESOURCE_ATTRIBUTES`, …). An exception is told by its class alone: what it says may be secret.
"""

from __future__ import annotations

import importlib.metadata
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runlink.application.settings import Tracing
from runlink.application.tracing import Kind, Value

_KINDS: Final[Mapping[Kind, trace.SpanKind]] = {
    "internal": trace.SpanKind.INTERNAL,
    "client": trace.SpanKind.CLIENT,
    "server": trace.SpanKind.SERVER,
}
_TIMEOUT_S: Final = 5.0
_LAST_S: Final = 2.0
"""How long the end of the process waits for the last spans to be taken."""


class OpenTelemetry:
    """A tracer whose spans go to a provider."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("runlink", importlib.metadata.version("runlink"))
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(
        self, name: str, kind: Kind, attributes: Mapping[str, Value], parent: Mapping[str, str] | None
    ) -> Iterator[_Span]:
        """A span within the block; an exception that leaves it is its error."""
        context = contexts.get_current()
        if parent is not None and not trace.get_current_span().get_span_context().is_valid:
            context = self._propagator.extract(dict(parent), context)
        with self._tracer.start_as_current_span(
            name,
            context,
            kind=_KINDS[kind],
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield _Span(span)
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(trace.StatusCode.ERROR)
                raise

    def headers(self) -> dict[str, str]:
        """`traceparent`, where a span is open."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier


class _Span:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def set(self, name: str, value: Value) -> None:
        self._span.set_attribute(name, value)


@contextmanager
def exporting(settings: Tracing) -> Iterator[OpenTelemetry]:
    """A tracer whose spans are sent to the collector, in batches, on a thread of its own."""
    resource = {"service.name": settings.service, "service.version": importlib.metadata.version("runlink")}
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)), resource=Resource.create(resource)
    )
    exporter = OTLPSpanExporter(endpoint=f"{settings.endpoint.rstrip('/')}/v1/traces", timeout=_TIMEOUT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield OpenTelemetry(provider)
    finally:
        last = threading.Thread(target=provider.shutdown, name="runlink-last-spans", daemon=True)
        last.start()
        last.join(_LAST_S)
