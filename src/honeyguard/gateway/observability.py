"""Logs that machines read, and traces where somebody collects them."""

import logging
import os

import orjson

from honeyguard.errors import MissingExtraError

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        known = {"time": record.created, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        return orjson.dumps(known | ({"exception": self.formatException(record.exc_info)} if record.exc_info else {})).decode()


def trace() -> None:
    """Send a span of every request to the OpenTelemetry collector that the environment names, if it names one.

    Raises: MissingExtraError.
    """
    if not os.environ.get(ENDPOINT):
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingExtraError("the extra 'otel'", f"{ENDPOINT} without it ({error})", "pip install 'honeyguard[otel]'") from None
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)  # FastAPI makes the spans
