"""Delays between attempts, on a virtual clock."""

import random

from hypothesis import given
from hypothesis import strategies as st

from trading_engine.binance.backoff import ATTEMPTS, ATTEMPTS_WINDOW_S, LONGEST_S, REGION_S, Backoff


def test_the_ceiling_doubles_to_thirty_seconds_and_starts_again_after_success() -> None:
    backoff = Backoff(jitter=lambda: 1.0)
    assert [backoff.failed(0.0) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    backoff.succeeded()
    assert backoff.failed(0.0) == 0.5


def test_full_jitter_spreads_over_the_whole_range() -> None:
    seeded = random.Random(7)
    backoff = Backoff(jitter=seeded.random)
    for _ in range(10):
        backoff.failed(0.0)
    delays = [backoff.failed(0.0) for _ in range(400)]
    assert min(delays) < 1
    assert max(delays) > LONGEST_S - 1
    assert all(0 <= delay <= LONGEST_S for delay in delays)


@given(seed=st.integers(0, 1000), lasts=st.lists(st.floats(0, 2), min_size=50, max_size=200))
def test_an_hour_of_refusals_never_sees_more_attempts_than_allowed(seed: int, lasts: list[float]) -> None:
    backoff = Backoff(jitter=lambda: 0.0 if seed % 2 else random.Random(seed).random())
    now, attempts = 0.0, []
    for lasted in lasts:
        backoff.attempt(now)
        attempts.append(now)
        now += lasted
        if lasted < 0.2:
            backoff.succeeded()  # a connection that opens and breaks at once must not get round the limit
        now += backoff.failed(now)
        recent = [at for at in attempts if at > now - ATTEMPTS_WINDOW_S + 1e-6]
        assert len(recent) <= ATTEMPTS


def test_a_region_that_stays_refused_is_asked_every_five_minutes() -> None:
    backoff = Backoff(jitter=lambda: 1.0)
    assert backoff.failed(0.0, region_refused=True) == 0.5
    assert backoff.failed(59.0, region_refused=True) == 1
    assert backoff.failed(60.0, region_refused=True) == REGION_S
    backoff.succeeded()
    assert backoff.failed(400.0, region_refused=True) == 0.5
