"""A record is one line and one JSON object, whatever it holds."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signtusk_realtime.observability import logging as ours


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("no")

    __str__ = __repr__


def written(log_it: Callable[[logging.Logger], None], *, is_readable: bool = False) -> str:
    stream = io.StringIO()
    logger = logging.Logger("signtusk_realtime.test")  # noqa: LOG001 - one of its own, so that nothing is shared
    logger.addHandler(ours.make_handler(stream, is_readable=is_readable))
    log_it(logger)
    return stream.getvalue()


def as_object(text: str) -> dict[str, object]:
    assert text.endswith("\n")
    assert text.count("\n") == 1
    value = json.loads(text, parse_constant=pytest.fail)
    assert isinstance(value, dict)
    return value


def test_a_line_has_the_message_and_its_fields() -> None:
    """Time, level, logger and message come first, then what was given in `extra`."""
    line = as_object(written(lambda log: log.info("connection closed", extra={"connection": "conn_1", "code": 4400})))
    assert list(line) == ["timestamp", "level", "logger", "message", "connection", "code"]
    assert datetime.fromisoformat(str(line.pop("timestamp"))).tzinfo is not None
    assert line == {
        "level": "info",
        "logger": "signtusk_realtime.test",
        "message": "connection closed",
        "connection": "conn_1",
        "code": 4400,
    }


def test_an_exception_stays_within_its_line() -> None:
    """A traceback is one field."""

    def fail(log: logging.Logger) -> None:
        try:
            raise ValueError("first\nsecond")
        except ValueError:
            log.exception("commit failed")

    line = as_object(written(fail))
    assert line["message"] == "commit failed"
    assert str(line["exception"]).startswith("Traceback")
    assert "first\nsecond" in str(line["exception"])


ODD = st.one_of(
    st.text(st.characters(exclude_categories=[])),
    st.floats(),
    st.binary(),
    st.just(float("nan")),
    st.dictionaries(st.one_of(st.integers(), st.binary(), st.text()), st.floats()),
    st.builds(object),
    st.builds(Unprintable),
)
FIELD_NAMES = st.text(min_size=1).filter(
    lambda name: name not in vars(logging.makeLogRecord({})) | {"message": 1, "asctime": 1}
)


@given(text=st.text(st.characters(exclude_categories=[])), fields=st.dictionaries(FIELD_NAMES, ODD, max_size=3))
def test_any_content_is_one_object_on_one_line(text: str, fields: dict[str, object]) -> None:
    """Line breaks, half characters, NaN, keys that are no text, objects without a name: never more than one line."""
    as_object(written(lambda log: log.warning("%s", text, extra=fields)))


def test_what_cannot_be_formatted_says_so() -> None:
    """A record whose arguments do not fit its text, or that is no text, is still one line, and the caller goes on."""
    line = as_object(written(lambda log: log.info("%d clients", "many")))
    assert (line["message"], line["text"]) == ("log record cannot be written", "%d clients")
    circle: dict[str, object] = {}
    circle["self"] = circle
    assert as_object(written(lambda log: log.info("circle", extra={"circle": circle})))["message"] == "circle"
    assert as_object(written(lambda log: log.info(Unprintable())))["text"] == "Unprintable"


def test_fields_cannot_take_the_message_away() -> None:
    """An `extra` named like a word of the log library is an ordinary field."""
    line = as_object(written(lambda log: log.info("published", extra={"event": "evt_1", "level": "none"})))
    assert (line["message"], line["event"], line["level"]) == ("published", "evt_1", "info")


def test_a_stream_that_is_gone_costs_nothing() -> None:
    """A closed pipe at standard error does not reach who logs."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    logger = logging.Logger("gone")  # noqa: LOG001
    logger.addHandler(ours.make_handler(Gone(), is_readable=False))
    logger.error("nobody reads this")


def test_a_terminal_is_told_nothing_to_obey() -> None:
    """Control characters of a message, a field or an error are shown, not sent; our own colours are."""

    def log_all(log: logging.Logger) -> None:
        log.info("m\x1b[2Jx\nforged", extra={"path": "f\x1b[2Jx\r\nforged", "solid": "s\x1b[2Jx\x9b"})
        try:
            raise ValueError("e\x1b[2Jx\r\x9bforged")
        except ValueError:
            log.exception("failed")

    text = written(log_all, is_readable=True)
    for shown in ("m\\x1b[2Jx", "f\\x1b[2Jx", "s\\x1b[2Jx\\x9b", "ValueError: e\\x1b[2Jx"):
        assert shown in text
    for sent in ("\x1b[2J", "\r", "\x9b", "\nforged"):
        assert sent not in text


def test_a_terminal_gets_something_readable() -> None:
    """On a terminal a line is for people: no JSON, message and fields in sight."""
    text = written(lambda log: log.info("listening", extra={"port": 8080}), is_readable=True)
    assert "listening" in text
    assert "8080" in text
    with pytest.raises(ValueError):
        json.loads(text)


def test_a_terminal_gets_the_same_fields_and_no_secrets() -> None:
    """A field named like a word of the log library does not take the message's place, and a traceback shows no variables."""

    def fail(log: logging.Logger) -> None:
        token = "secret" + "-token"
        try:
            raise ValueError(len(token))
        except ValueError:
            log.exception("commit failed", extra={"event": "evt_1"})

    text = written(fail, is_readable=True)
    assert "commit failed" in text
    assert "evt_1" in text
    assert "ValueError: 12" in text
    assert "secret-token" not in text


def test_a_record_that_others_have_written_too_is_the_same() -> None:
    """What another handler leaves on a record is no field of ours."""
    record = logging.makeLogRecord({"name": "x", "levelname": "INFO", "msg": "hello %s", "args": ("you",), "port": 1})
    logging.Formatter("%(asctime)s %(message)s").format(record)
    stream = io.StringIO()
    ours.make_handler(stream, is_readable=False).handle(record)
    assert list(as_object(stream.getvalue())) == ["timestamp", "level", "logger", "message", "port"]


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    handlers, level, hook = logger.handlers[:], logger.level, sys.excepthook
    yield logger
    sys.excepthook = hook
    logger.handlers[:], logger.level = handlers, level
    logging.captureWarnings(capture=False)


def test_configure_takes_all_logs_of_the_process(root: logging.Logger) -> None:
    """Loggers of other libraries end in the same stream and form, from info on; a second call does not double lines."""
    stream = io.StringIO()
    ours.configure(stream)
    ours.configure(stream)
    logging.getLogger("somebody.else").info("hello")
    logging.getLogger("somebody.else").debug("details")
    assert as_object(stream.getvalue())["logger"] == "somebody.else"


def test_an_error_nobody_caught_is_a_line_too(root: logging.Logger) -> None:
    """The last words of a process are in the form of all others."""
    stream = io.StringIO()
    ours.configure(stream)
    error = RuntimeError("a bug")
    sys.excepthook(RuntimeError, error, None)
    line = as_object(stream.getvalue())
    assert line["level"] == "critical"
    assert "RuntimeError: a bug" in str(line["exception"])
