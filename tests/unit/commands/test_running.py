"""How `publish` and `subscribe` answer wrong use, and a service that is not there; what they do with one is shown by tests/e2e."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from signtusk_realtime import cli
from tests.support.clock import VirtualClockLoop

NOBODY = "http://127.0.0.1:9"
"""The discard port, where nobody listens."""
IDENTITY = ("--user", "u", "--organization", "o")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pretty.json").write_text('[\n{"kind": "x"}\n]\n')


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give either an event as JSON, or --file FILE, or --file - for standard input"),
        (("{}", "--file", "-"), "give either an event as JSON, or --file FILE"),
        (("{",), "line 1: not JSON: Input data was truncated; expected one JSON object a line"),
        (("",), "the event given is empty"),
        ((" \n",), "the event given is empty"),
        (("[]",), "line 1: not a JSON object"),
        (("--file", "none.json"), "--file: No such file or directory: none.json"),
        (("--file", "."), "--file: Is a directory: ."),
        (("--file", "pretty.json"), "line 1: not a JSON object; expected one JSON object a line"),
        (("--file",), "--file"),
        (("--fil", "x"), "Did you mean --file?"),
        (("{}", "{}"), "Unused Tokens"),
        (("{}", "--url", "127.0.0.1:8080"), "the URL must have the form"),
        (("{}", "--token-file", "none"), "--token-file: "),
        (("{}", "--token-file", "none", "--token", "t"), "give either --token or --token-file"),
    ],
)
def test_what_publish_cannot_mean(capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2 for whatever cannot be an event or a source of them; nothing is on standard output."""
    assert (
        cli.main(["publish", "--url", NOBODY, *arguments] if "--url" not in arguments else ["publish", *arguments]) == 2
    )
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--user", "u"), "--user and --organization are given together"),
        ((*IDENTITY, "--token", "t"), "give either --token, or --user and --organization"),
        ((*IDENTITY, "--types", "document"), "--types: unknown 'document'; known are document_updates, "),
        ((*IDENTITY, "--types", ""), "--types: unknown ''"),
        ((*IDENTITY, "--document-id", " d"), "not an id"),
        ((*IDENTITY, "--count", "-1"), "--count"),
        ((*IDENTITY, "--count", "many"), "--count"),
        ((*IDENTITY, "--transport", "tcp"), "--transport"),
    ],
)
def test_what_subscribe_cannot_mean(capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2 before anything is connected."""
    assert cli.main(["subscribe", "--url", NOBODY, *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err


@pytest.mark.parametrize("command", [("publish", "{}"), ("subscribe",), ("subscribe", "--transport", "sse")])
def test_a_service_that_is_not_there(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """It is tried for a while, which is told, and then given up with 1: a server that is just starting is met."""
    monkeypatch.setattr(asyncio.events, "new_event_loop", VirtualClockLoop)
    assert cli.main([*command, "--url", NOBODY]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    *tries, end = err.splitlines()
    assert len(tries) >= 4
    assert all(line.startswith(f"signtusk-realtime: {NOBODY}: ") for line in tries)
    assert all("; trying again in " in line for line in tries)
    assert ["--url" in line for line in tries] == [True, *(False for _ in tries[1:])]
    assert end.startswith("signtusk-realtime: unavailable: ")
    assert "within 10 s; at last: " in end


def test_no_events_are_asked_for_and_none_come(capfd: pytest.CaptureFixture[str]) -> None:
    """`--count 0` is done before it begins."""
    assert cli.main(["subscribe", "--url", NOBODY, "--count", "0"]) == 0
    assert capfd.readouterr() == ("", "")


def test_help_tells_what_is_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    """Each option of the two commands is named."""
    for command, options in (
        ("publish", ("EVENT", "--url", "--token", "--token-file", "--file")),
        ("subscribe", ("--user", "--organization", "--types", "--document-id", "--cursor", "--transport", "--count")),
    ):
        assert cli.main([command, "--help"]) == 0
        out, _ = capfd.readouterr()
        assert all(option in out for option in options)
