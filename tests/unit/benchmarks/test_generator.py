"""What the generator says is either figures of a sound run, or no result."""

from __future__ import annotations

import pytest

from benchmarks.generator import NoResult, figure, parse


def test_a_sound_run_is_its_figures() -> None:
    """The line of a sound run is read as it stands."""
    assert parse('{"deliveries_per_cpu_s":12.5,"sound":true}') == {"deliveries_per_cpu_s": 12.5, "sound": True}


@pytest.mark.parametrize("trouble", ["missing", "extra", "garbled", "dead"])
def test_a_run_that_is_not_sound_is_no_result(trouble: str) -> None:
    """Whatever spoiled the run is named, and no figure comes out of it."""
    with pytest.raises(NoResult, match=f"'{trouble}': 3"):
        parse(f'{{"deliveries_per_cpu_s":12.5,"{trouble}":3,"sound":false}}')


@pytest.mark.parametrize("output", ["", "load: refused", "[1]", '{"deliveries_per_cpu_s":12.5}', '{"a":-nan}'])
def test_anything_else_is_no_result(output: str) -> None:
    """A line without the word that the run was sound is never taken for figures."""
    with pytest.raises(NoResult):
        parse(output)


def test_a_figure_is_found_inside_of_a_distribution() -> None:
    """A dotted name reaches into a distribution."""
    assert figure({"latency_us": {"p99": 7}}, "latency_us.p99") == 7.0


@pytest.mark.parametrize("name", ["latency_us.p50", "p99", "latency_us.p99.more"])
def test_a_figure_that_is_not_there_is_an_error(name: str) -> None:
    """A misspelt figure is an error, not zero."""
    with pytest.raises(KeyError):
        figure({"latency_us": {"p99": 7}}, name)


def test_a_text_is_no_figure() -> None:
    """What is not a number is not made one."""
    with pytest.raises(TypeError):
        figure({"latency_us": "fast"}, "latency_us")
