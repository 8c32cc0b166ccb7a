"""What every test shares: exact arithmetic, hypothesis profiles and the folder of recorded market data."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from trading_engine.exchange.money import use_exact_arithmetic

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("quick", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def pytest_configure(config: pytest.Config) -> None:
    """Compute exactly from the first import on, and choose how long properties look for a counterexample."""
    use_exact_arithmetic()
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(scope="session")
def captures() -> Path:
    """Return the folder of recorded market data, or skip: recordings are not part of the repository."""
    folder = Path(os.environ.get("CAPTURES_DIR", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no recorded market data: {folder} is not a folder (set CAPTURES_DIR)")
    return folder
