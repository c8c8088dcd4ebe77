"""Every target over its kept corpus, and some seconds of inputs near it. `make fuzz` is the long form."""

from __future__ import annotations

import pytest

from tests.fuzz.mutation import CORPUS, mutated, seeds
from tests.fuzz.targets import TARGETS

MUTATIONS = 1500


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_holds(target: str) -> None:
    """What was found once stays mended: each kept input passes."""
    for data in seeds(target):
        TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_near_it_holds(target: str) -> None:
    """Some thousand mutations, the same in every run, raise nothing that is not ours."""
    for data in mutated(seeds(target), MUTATIONS, seed=20_261_123):
        try:
            TARGETS[target](data)
        except Exception as error:
            raise AssertionError(f"{target} fails at {data!r}; keep it in tests/fuzz/corpus/{target}") from error


def test_no_corpus_is_left_over() -> None:
    """Each folder belongs to a target."""
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
