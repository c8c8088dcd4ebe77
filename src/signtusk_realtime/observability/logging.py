"""How the command writes its log: a JSON object a line, or something readable on a terminal.

Owns: the form of a line.   Not: what is logged (every room, by a standard logger of its own name and fields in `extra`).
Rule 1: the command configures logging, the library never does.
Rule 2: one record is one line and one JSON object, whatever it holds; a record that cannot be written says so in its place.
"""

from __future__ import annotations

import json
import logging
import sys
from types import TracebackType
from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MESSAGE: Final = "message"
"""The key of a record's text. Why not structlog's own `event`: that is a word of our domain, and `logging` keeps this one free."""

_FIRST: Final = ("timestamp", "level", "logger", MESSAGE)


def configure(stream: TextIO | None = None) -> None:
    """Write all logs of this process to a stream (standard error), readable if it is a terminal."""
    out = sys.stderr if stream is None else stream
    root = logging.getLogger()
    root.handlers[:] = [make_handler(out, is_readable=out.isatty())]
    root.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught


def make_handler(stream: TextIO, *, is_readable: bool) -> logging.Handler:
    """Give a handler that writes to a stream: for people, or a JSON object a line."""
    last: list[Processor] = [structlog.dev.ConsoleRenderer(event_key=MESSAGE)]
    if not is_readable:
        last = [structlog.processors.format_exc_info, _json]
    handler = _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                _name_message,
                structlog.stdlib.ExtraAdder(),
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    return handler


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    logging.getLogger(__name__).critical("the process ends by an error of its own", exc_info=(kind, error, traceback))


class _Handler(logging.StreamHandler[TextIO]):
    """Writes a record that cannot be formatted as one that says so. The standard one prints a traceback of many lines."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        kind, _, _ = sys.exc_info()
        if kind is not None and issubclass(kind, OSError):
            return  # the stream itself is gone; there is nowhere to say it
        # Even the text of a record may be an object that cannot be shown.
        text = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        line = {"level": "error", "logger": record.name, MESSAGE: "log record cannot be written", "text": text}
        self.stream.write(json.dumps(line) + self.terminator)
        self.flush()


def _name_message(_logger: WrappedLogger, _name: str, fields: EventDict) -> EventDict:
    fields[MESSAGE] = fields.pop("event")
    return fields


def _json(_logger: WrappedLogger, _name: str, fields: EventDict) -> str:
    fields = {**{name: fields[name] for name in _FIRST if name in fields}, **fields}
    try:
        return json.dumps(fields, default=repr, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        # Not a number, a key that is no text, a circle: then each value as text, which is always possible.
        return json.dumps({str(key): value if isinstance(value, str) else repr(value) for key, value in fields.items()})
