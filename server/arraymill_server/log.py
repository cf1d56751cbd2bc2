"""Structured logs on stderr: JSON lines for machines, coloured text for people at a terminal.

Records of the standard library (gRPC, asyncio, warnings) go the same way, so that stderr holds one format only.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TextIO

import structlog
from structlog.typing import Processor

_COMMON: Sequence[Processor] = (
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.ExtraAdder(),
)


def configure(level: str = "info", format: str = "auto", *, stream: TextIO | None = None) -> None:
    """Set up logging for this process; a second call replaces the first.

    Args:
        level: Least severe level that is written: debug, info, warning or error.
        format: "json", "console", or "auto": console when the stream is a terminal.
        stream: Where to; None: stderr.
    """
    out: TextIO = sys.stderr if stream is None else stream
    is_console = format == "console" or (format == "auto" and out.isatty())
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_COMMON,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(is_console, out)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_COMMON,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module: ``get_logger(__name__)``. Works before and after `configure`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def drops_debug() -> bool:
    """Tell whether a line at debug would be thrown away: to ask takes 1 µs, to throw it away ten."""
    processors = structlog.get_config()["processors"]
    is_filtered = bool(processors) and processors[0] is structlog.stdlib.filter_by_level
    return is_filtered and not logging.getLogger().isEnabledFor(logging.DEBUG)


def _renderers(is_console: bool, stream: TextIO) -> Sequence[Processor]:
    # No local variables in tracebacks: they hold what clients sent.
    if is_console:
        plain = structlog.dev.plain_traceback
        return (structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain),)
    transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return (structlog.processors.ExceptionRenderer(transformer), structlog.processors.JSONRenderer())
