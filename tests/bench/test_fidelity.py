"""The fidelity benchmark's own honesty: a market of a dozen rows whose right score can be counted on the fingers."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bench import fidelity
from bench.fidelity_desk import run_twins
from bench.fidelity_feed import Diff, Event, Print, Quote, feed, lot_of, read_rows, read_truth, tick_of
from trading_engine.exchange.queue_rules import Rule

SECOND = 1_000_000_000

# Bids at 10.0: 2 lots of 0.5 were there. Order 3 (2 lots) joins, 4 (1 lot) behind it, 5 (3 lots) behind that; 3 is
# cancelled, which strict takes for somebody behind. A seller then fills what was there first, and 4. 5 is cancelled.
# Order 6 improves the price, alone, and is filled in two parts. Order 7 is never near a trade.
L3 = """\
ts_ns,action,side,price,size,order_id
1000000000,init,bid,10.0,1.0,1
1000000000,init,ask,10.5,5.0,2
2000000000,add,bid,10.0,1.0,3
3000000000,add,bid,10.0,0.5,4
4000000000,add,bid,10.0,1.5,5
5000000000,cancel,bid,10.0,1.0,3
6000000000,execute,bid,10.0,1.0,1
6000000000,execute,bid,10.0,0.5,4
7000000000,cancel,bid,10.0,1.5,5
8000000000,add,bid,10.1,1.0,6
8500000000,execute,bid,10.1,0.5,6
9000000000,execute,bid,10.1,0.5,6
9500000000,add,ask,10.5,1.0,7
9600000000,trade,bid,10.25,1.0,0
"""
TRUTH = """\
order_id,t_add_ns,side,price,size,ticks_from_best,spread_ticks,queue_ahead,orders_ahead,outcome,filled,\
t_first_fill_ns,t_last_fill_ns,t_end_ns,exec_ahead,cancel_ahead
3,2000000000,bid,10.0,1.0,0,5,1.0,1,cancelled,0,,,5000000000,0,0
4,3000000000,bid,10.0,0.5,0,5,2.0,2,filled,0.5,6000000000,6000000000,6000000000,1.0,1.0
5,4000000000,bid,10.0,1.5,0,5,2.5,3,cancelled,0,,,7000000000,1.5,1.0
6,8000000000,bid,10.1,1.0,-1,4,0,0,filled,1.0,8500000000,9000000000,9000000000,0,0
7,9500000000,ask,10.5,1.0,0,4,5.0,1,open,0,,,,0,0
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "l3.csv.gz", tmp_path / "truth.csv.gz"
    for path, text in zip(paths, (L3, TRUTH), strict=True):
        path.write_bytes(gzip.compress(text.encode()))
    return paths


@pytest.fixture
def events(files: tuple[Path, Path]) -> list[Event]:
    l3, truth = files
    return feed(read_rows(l3), read_truth(truth), from_ns=0, ticks=5)


def measure(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str], *more: str) -> Any:
    l3, truth = files
    assert fidelity.main(["--l3", str(l3), "--truth", str(truth), "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def test_tick_and_lot_come_from_the_file(files: tuple[Path, Path]) -> None:
    rows = read_rows(files[0])
    assert [str(tick_of(rows)), str(lot_of(rows))] == ["0.1", "0.5"]


def test_the_feed_is_what_the_venue_would_have_sent(events: list[Event]) -> None:
    at_six = [event for event in events if event.time_ns == 6 * SECOND]
    ten, half, one = Decimal(10), Decimal("0.5"), Decimal(1)
    assert at_six == [
        Print(6 * SECOND, "bid", ten, one),
        Quote(6 * SECOND, "bid", ten, Decimal(2)),
        Print(6 * SECOND, "bid", ten, half),
        Quote(6 * SECOND, "bid", ten, Decimal("1.5")),
    ]
    diffs = [event for event in events if isinstance(event, Diff)]
    assert all(event.time_ns % 100_000_000 == 0 for event in diffs)
    after_six = next(event for event in diffs if event.time_ns > 6 * SECOND)
    assert after_six.levels == (("bid", ten, Decimal("1.5")),)


def test_the_right_score_is_full_marks(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    figures = measure(files, capsys, "--model", "inferred")
    assert figures == {
        "n": 5,
        "agreement": 1.0,
        "precision": 1.0,
        "recall": 1.0,
        "quantity_ratio": 1.0,
        "dt_median_s": 0.0,
        "dt_p90_s": 0.0,
        "contested": {
            "n": 2,  # 4 and 5: 3 saw no print, 6 had nobody ahead, 7 saw none at its price or through it
            "agreement": 1.0,
            "precision": 1.0,
            "recall": 1.0,
            "quantity_ratio": 1.0,
            "dt_median_s": 0.0,
            "dt_p90_s": 0.0,
        },
    }


def test_a_rule_that_errs_is_marked_down(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    by_rule = measure(files, capsys)
    assert set(by_rule) == {str(rule) for rule in Rule}
    strict, touch = by_rule["strict"]["contested"], by_rule["touch"]["contested"]
    assert [strict["agreement"], strict["recall"], strict["precision"]] == [0.5, 0.0, None]
    # Touch fills the half lot of 4 at once, and of 5 1.5: the first print's 1.0 and the second's 0.5.
    assert [touch["agreement"], touch["recall"], touch["precision"]] == [0.5, 1.0, 0.5]
    assert touch["quantity_ratio"] == 4.0
    assert by_rule["strict"]["agreement"] == 0.8


def test_where_quotes_outrun_trades_the_score_is_the_same(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    in_time = measure(files, capsys, "--model", "inferred")
    assert measure(files, capsys, "--model", "inferred", "--quotes-first") == in_time


def test_only_orders_near_the_best_price_and_after_the_start_count(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure(files, capsys, "--model", "strict", "--ticks", "-1")["n"] == 1
    assert measure(files, capsys, "--model", "strict", "--from-ns", str(4 * SECOND))["n"] == 3
    nothing = measure(files, capsys, "--model", "strict", "--from-ns", str(10 * SECOND))
    assert nothing["n"] == 0
    assert nothing["agreement"] is None


def test_a_twin_is_withdrawn_when_its_order_was_and_lingers_when_it_was_filled(events: list[Event]) -> None:
    twins = {twin.truth.order_id: twin for twin in run_twins(events, rule=Rule.PRINTS, step=Decimal("0.5"))}
    assert twins[5].filled == 0
    late = [*events, Print(15 * SECOND, "bid", Decimal(10), Decimal(1))]
    lingering = {twin.truth.order_id: twin for twin in run_twins(late, rule=Rule.PRINTS, step=Decimal("0.5"))}
    assert [lingering[4].filled, lingering[4].last_fill_ns] == [Decimal("0.5"), 15 * SECOND]
    too_late = [*events, Print(17 * SECOND, "bid", Decimal(10), Decimal(1))]
    gone = {twin.truth.order_id: twin for twin in run_twins(too_late, rule=Rule.PRINTS, step=Decimal("0.5"))}
    assert gone[4].filled == 0


def test_the_gain_over_itself_is_nothing_and_over_a_worse_rule_is_counted(events: list[Event]) -> None:
    ours = run_twins(events, rule=Rule.INFERRED, step=Decimal("0.5"))
    theirs = run_twins(events, rule=Rule.STRICT, step=Decimal("0.5"))
    assert fidelity.gain(ours, ours) == fidelity.Gain(mean=0.0, low=0.0, low_by_stretch=0.0)
    assert fidelity.gain(ours, theirs).mean == 0.2
    assert fidelity.gain(ours, theirs).low == 0.0
    with pytest.raises(ValueError, match="not those of the same orders"):
        fidelity.gain(ours, theirs[::-1])


def test_without_recordings_it_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAPTURES_DIR", str(tmp_path))
    assert fidelity.main([]) == 1
    assert f"in {tmp_path}; CAPTURES_DIR names the folder" in capsys.readouterr().err
