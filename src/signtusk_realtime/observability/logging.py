"""How the command writes its log: a JSON object a line, or something readable on a terminal.

Owns: the form of a line.   Not: what is logged (every room, by a standard logger of its own name and fields in `extra`).
Rule 1: the command configures logging, the library never does.
Rule 2: one record is one line and one JSON object, whatever it holds; a record that cannot be written says so in its place.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from structlog.typing import EventDict, ExcInfo

MESSAGE: Final = "message"
"""The key of a record's text. Why not `event`, as others have it: that is a word of our domain, and `logging` keeps this one free."""

_OWN_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""What a record has, the last two once another formatter saw it. All else was given by who logged."""


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
    handler = _Handler(stream)
    handler.setFormatter(_readable() if is_readable else _JsonLines())
    return handler


def _readable() -> logging.Formatter:
    # Measured: loading what makes a terminal's lines takes longer than opening the log; a service that restarts does not need it.
    import structlog  # noqa: PLC0415

    def name_message(_logger: object, _name: str, fields: EventDict) -> EventDict:
        fields[MESSAGE] = harmless(str(fields.pop("event")).replace("\n", "\\n"))
        return fields

    def trace(out: TextIO, error: ExcInfo) -> None:
        text = io.StringIO()
        # Why plain: the default shows local variables beside a traceback, and among them may be tokens.
        structlog.dev.plain_traceback(text, error)
        out.write(harmless(text.getvalue()))

    # By their repr fields hold nothing that a terminal obeys.
    last = structlog.dev.ConsoleRenderer(event_key=MESSAGE, exception_formatter=trace, repr_native_str=True)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            name_message,
            structlog.stdlib.ExtraAdder(),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
    )


_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")
"""All but the line feed, of which a traceback is made."""


class _JsonLines(logging.Formatter):
    """Writes a record as a JSON object: when, how grave, who and what first, then its fields, then the error."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line. Raises: whatever the record's text raises when it is put together."""
        first = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            MESSAGE: record.getMessage(),
        }
        fields: dict[str, object] = {name: value for name, value in vars(record).items() if name not in _OWN_FIELDS}
        fields = {**first, **fields, **first}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        return _line(fields)


def harmless(text: str) -> str:
    """Give text for a terminal, which obeys control characters; what an error repeats may be a stranger's."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


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


def _line(fields: Mapping[str, object]) -> str:
    try:
        return json.dumps(fields, default=repr, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        # Not a number, a key that is no text, a circle: then each value as text, which is always possible.
        return json.dumps({key: value if isinstance(value, str) else repr(value) for key, value in fields.items()})
