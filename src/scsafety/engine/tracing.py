"""Events as OpenTelemetry spans: one a sitting, in it one a call, named as the GenAI semantic conventions name them.

No span holds what was asked or answered, and nothing is sent but by the exporter that the user's OTEL_* variables name.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.engine.events import Called, Noted, SittingEnded, SittingStarted
from scsafety.errors import ConfigError

try:
    from opentelemetry import trace
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider, export
except ImportError as error:
    raise ConfigError("--otel needs OpenTelemetry: pip install 'scsafety[otel]'") from error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scsafety.engine.events import Event, Sink

USAGE = {"prompt_tokens": "gen_ai.usage.input_tokens", "completion_tokens": "gen_ai.usage.output_tokens"}
NAMES = {"model": "gen_ai.response.model", **USAGE}  # others are our own


def provider_from_environment() -> TracerProvider:
    """By OTEL_TRACES_EXPORTER, `otlp` where it is not set. Raises ConfigError where that exporter is not installed."""
    resource = Resource.create({"service.name": "scsafety"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    for name in map(str.strip, os.environ.get("OTEL_TRACES_EXPORTER", "otlp").split(",")):
        if name not in ("", "none"):
            provider.add_span_processor(export.BatchSpanProcessor(_exporter(name)))
    return provider


def _exporter(name: str) -> Any:
    protocols = [os.environ.get(f"OTEL_EXPORTER_OTLP_{which}PROTOCOL") for which in ("TRACES_", "")]
    kind = next(filter(None, protocols), "http/protobuf").partition("/")[0]
    wanted = f"otlp_proto_{kind}" if name == "otlp" else name
    for entry in entry_points(group="opentelemetry_traces_exporter", name=wanted):
        return entry.load()()
    package = f"opentelemetry-exporter-{wanted.replace('_', '-')}"
    raise ConfigError(f"--otel: no exporter {wanted!r} is installed (OTEL_TRACES_EXPORTER): pip install {package}")


@contextmanager
def tracing(provider: TracerProvider) -> Iterator[Sink]:
    """A sink that makes spans of events; what is left is exported when the block ends."""
    tracer = provider.get_tracer("scsafety")
    sitting: trace.Span = trace.INVALID_SPAN

    def tell(event: Event) -> None:
        nonlocal sitting
        match event:
            case SittingStarted():
                sitting = tracer.start_span(f"sitting {event.run}", attributes=_fields(event))
            case Called():
                vendor, _, model = event.endpoint.replace("gguf:", "gguf/", 1).partition("/")
                chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model, **_fields(event)}
                chat |= dict.fromkeys(("gen_ai.provider.name", "gen_ai.system"), vendor)  # new name and old
                parent, began = trace.set_span_in_context(sitting), time.time_ns() - round(event.elapsed_s * 1e9)
                span = tracer.start_span(f"chat {model}", parent, trace.SpanKind.CLIENT, chat, start_time=began)
                if not event.outcome.startswith(("answered", "empty", "blocked")):
                    span.set_attribute("error.type", event.outcome)
                    span.set_status(trace.StatusCode.ERROR)
                span.end()
            case Noted():
                sitting.add_event("note", _fields(event))
            case SittingEnded():
                sitting.set_attributes(_fields(event))
                sitting.end()

    try:
        yield tell
    finally:
        provider.shutdown()


def _fields(event: Event) -> dict[str, Any]:
    fields = msgspec.structs.asdict(event).items()
    return {NAMES.get(k, f"scsafety.{k}"): v for k, v in fields if isinstance(v, str | int | float) and k != "time"}
