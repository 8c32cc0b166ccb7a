"""One simulator shared by the tests of a module, healed before each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulator.process import Venue, running


@pytest.fixture(scope="module")
def shared_venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    state: Path = tmp_path_factory.mktemp("venue") / "state.json"
    with running("--seed", "tests", "--state", str(state)) as venue:
        yield venue


@pytest.fixture
def venue(shared_venue: Venue) -> Venue:
    shared_venue.heal()
    return shared_venue
