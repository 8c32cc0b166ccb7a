"""Frames and answers as the venue writes them, and everything it must not be able to upset us with."""

import gzip
import json
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_engine.binance import wire
from trading_engine.binance.wire import Malformed
from trading_engine.exchange.market import Ticker, Trade

D = Decimal

DEPTH = {
    "e": "depthUpdate",
    "E": 1723161255208,
    "s": "BTCUSDT",
    "U": 50093239189,
    "u": 50093239202,
    "b": [["61737.63000000", "0.00000000"], ["61730.17000000", "1.54698000"]],
    "a": [["61837.64000000", "0.00001000"]],
}
QUOTE = {
    "u": 35346513501,
    "s": "ETHUSDT",
    "b": "2683.80000000",
    "B": "3.02920000",
    "a": "2683.81000000",
    "A": "31.43950000",
}
TRADE = {
    "e": "trade",
    "E": 1723161255343,
    "s": "BTCUSDT",
    "t": 3735683259,
    "p": "61837.63000000",
    "q": "0.02000000",
    "T": 1723161255342,
    "m": True,
    "M": True,
}
AGG_TRADE = {
    "e": "aggTrade",
    "E": 1633998523963,
    "s": "NKNUSDT",
    "a": 15683430,
    "p": "0.35280000",
    "q": "58.00000000",
    "f": 19862790,
    "l": 19862791,
    "T": 1633998523963,
    "m": False,
    "M": True,
}
KLINE: dict[str, Any] = {
    "e": "kline",
    "E": 1633998523963,
    "s": "NKNUSDT",
    "k": {
        "t": 1633998480000,
        "T": 1633998539999,
        "s": "NKNUSDT",
        "i": "1m",
        "f": 19862761,
        "L": 19862790,
        "o": "0.35270000",
        "c": "0.35280000",
        "h": "0.35280000",
        "l": "0.35220000",
        "v": "25877.00000000",
        "n": 30,
        "x": False,
        "q": "9116.04600000",
        "V": "58.00000000",
        "Q": "20.46240000",
        "B": "0",
    },
}
STREAMS: dict[str, dict[str, Any]] = {
    "btcusdt@depth@100ms": DEPTH,
    "ethusdt@bookTicker": QUOTE,
    "btcusdt@trade": TRADE,
    "nknusdt@aggTrade": AGG_TRADE,
    "nknusdt@kline_1m": KLINE,
}


def text(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def combined(stream: str, event: object) -> bytes:
    return text({"stream": stream, "data": event})


# --- frames ---


@pytest.mark.parametrize(
    "frame", [combined("btcusdt@depth@100ms", DEPTH), text(DEPTH), text({"data": DEPTH, "stream": "x"})]
)
def test_a_diff_combined_bare_or_with_its_keys_turned_round(frame: bytes) -> None:
    assert wire.decode_frame(frame) == wire.DepthDiff(
        symbol="BTCUSDT",
        event_time_ms=1723161255208,
        first_update_id=50093239189,
        update_id=50093239202,
        bids=[(61737.63, 0.0), (61730.17, 1.54698)],
        asks=[(61837.64, 0.00001)],
    )


@pytest.mark.parametrize(
    "frame", [combined("ethusdt@bookTicker", QUOTE), text(QUOTE), text({"data": QUOTE, "stream": "x"})]
)
def test_a_quote_has_neither_event_name_nor_time(frame: bytes) -> None:
    assert wire.decode_frame(frame) == wire.Quote(
        symbol="ETHUSDT", update_id=35346513501, bid=2683.8, bid_quantity=3.0292, ask=2683.81, ask_quantity=31.4395
    )


def test_a_print_is_exact() -> None:
    assert wire.decode_frame(combined("btcusdt@trade", TRADE)) == wire.Print(
        symbol="BTCUSDT",
        event_time_ms=1723161255343,
        trade=Trade(
            id=3735683259,
            price=D("61837.63000000"),
            quantity=D("0.02000000"),
            buyer_is_maker=True,
            time_ms=1723161255342,
        ),
    )


def test_an_aggregate_trade_names_the_trades_in_it() -> None:
    message = wire.decode_frame(combined("nknusdt@aggTrade", AGG_TRADE))
    assert isinstance(message, wire.AggTrade)
    assert (message.symbol, message.id, message.first_trade_id, message.last_trade_id) == (
        "NKNUSDT",
        15683430,
        19862790,
        19862791,
    )


def test_a_running_candle() -> None:
    message = wire.decode_frame(combined("nknusdt@kline_1m", KLINE))
    assert isinstance(message, wire.KlineUpdate)
    assert (message.symbol, message.interval, message.closed, message.first_trade_id) == (
        "NKNUSDT",
        "1m",
        False,
        19862761,
    )
    candle = message.kline.candle(closed=message.closed)
    assert (candle.open, candle.high, candle.low, candle.close) == (D("0.3527"), D("0.3528"), D("0.3522"), D("0.3528"))
    assert (candle.volume, candle.quote_volume, candle.trades, candle.closed) == (D(25877), D("9116.046"), 30, False)


def test_a_candle_without_trades_has_trade_ids_of_minus_one() -> None:
    quiet = KLINE | {"k": {**KLINE["k"], "f": -1, "L": -1, "n": 0, "v": "0.00000000", "q": "0.00000000"}}
    message = wire.decode_frame(text(quiet))
    assert isinstance(message, wire.KlineUpdate)
    assert (message.first_trade_id, message.kline.trades, message.kline.volume) == (-1, 0, D(0))


def test_day_figures_as_captured(captures: Path) -> None:
    lines = (captures / "rest" / "ws_24hrTicker_20250914.jsonl").read_bytes().splitlines()
    first, second = (wire.decode_frame(line) for line in lines)
    assert first == wire.DayTicker(
        symbol="BTCUSDT",
        event_time_ms=1757888604019,
        ticker=Ticker(
            price_change_percent=D("-0.019"),
            open_price=D("115853.44"),
            high_price=D("116165.19"),
            low_price=D("115141.80"),
            volume=D("6348.13563"),
            quote_volume=D("734287298.46364070"),
            time_ms=1757888604009,
        ),
    )
    assert isinstance(second, wire.DayTicker)
    assert second.symbol == "ETHUSDT"


@pytest.mark.parametrize(
    ("frame", "reply"),
    [
        (b'{"result":null,"id":1}', wire.Reply(id=1, error=None, code=None)),
        (b'{"result":["btcusdt@trade"],"id":"a"}', wire.Reply(id="a", error=None, code=None)),
        (b'{"id":null,"result":null}', wire.Reply(id=None, error=None, code=None)),
        (b'{"error":{"code":2,"msg":"Invalid request"},"id":3}', wire.Reply(id=3, error="Invalid request", code=2)),
        (b'{"code":3,"msg":"Invalid JSON"}', wire.Reply(id=None, error="Invalid JSON", code=3)),
    ],
)
def test_answers_to_subscriptions(frame: bytes, reply: wire.Reply) -> None:
    assert wire.decode_frame(frame) == reply


@pytest.mark.parametrize(
    "frame", [b'{"e":"serverShutdown","E":1770000000000}', b'{"stream":"x","data":{"e":"serverShutdown"}}']
)
def test_the_venue_says_goodbye(frame: bytes) -> None:
    assert isinstance(wire.decode_frame(frame), wire.ServerShutdown)


def test_a_symbol_in_any_script() -> None:
    event = TRADE | {"s": "币安人生USDT"}
    message = wire.decode_frame(
        json.dumps({"stream": "币安人生usdt@trade", "data": event}, ensure_ascii=False).encode()
    )
    assert isinstance(message, wire.Print)
    assert message.symbol == "币安人生USDT"


def test_every_captured_frame_reads_back_number_for_number(captures: Path) -> None:
    with gzip.open(captures / "binance_spot_20211012_4sym.jsonl.gz") as lines:
        rows = [json.loads(line) for line in lines]
    seen = 0
    for row in rows:
        if row["kind"] != "ws":
            continue
        event = json.loads(row["data"])["data"]
        message = wire.decode_frame(row["data"].encode())
        if isinstance(message, wire.DepthDiff):
            assert [(D(price), D(size)) for price, size in event["b"]] == [
                (D(str(p)), D(str(q))) for p, q in message.bids
            ]
            assert (message.first_update_id, message.update_id) == (event["U"], event["u"])
            seen += 1
        elif isinstance(message, wire.Quote):
            assert (D(event["b"]), D(event["B"])) == (D(str(message.bid)), D(str(message.bid_quantity)))
            seen += 1
    assert seen == 177 + 84


# --- frames that are none ---

BAD_NUMBERS = ["NaN", "nan", "Infinity", "-1", "1E+999999999", "1e400", "1_000", "١", " 1", "", "0x10", "1.", "--1"]
NUMBER_FIELDS = [(stream, field) for stream in ("btcusdt@trade", "nknusdt@aggTrade") for field in ("p", "q")]
NUMBER_FIELDS += [("ethusdt@bookTicker", field) for field in "bBaA"]


@pytest.mark.parametrize("bad", BAD_NUMBERS)
@pytest.mark.parametrize(("stream", "field"), NUMBER_FIELDS)
def test_an_impossible_number_is_malformed(stream: str, field: str, bad: str) -> None:
    with pytest.raises(Malformed):
        wire.decode_frame(combined(stream, STREAMS[stream] | {field: bad}))
    with pytest.raises(Malformed):
        wire.decode_frame(text(STREAMS[stream] | {field: bad}))


@pytest.mark.parametrize("bad", [*BAD_NUMBERS, "12345678901234567"])
@pytest.mark.parametrize("side", ["b", "a"])
@pytest.mark.parametrize("part", [0, 1])
def test_an_impossible_level_is_malformed(side: str, part: int, bad: str) -> None:
    level = ["1.00000000", "1.00000000"]
    level[part] = bad
    with pytest.raises(Malformed):
        wire.decode_frame(combined("btcusdt@depth@100ms", DEPTH | {side: [["2.0", "1.0"], level]}))


def test_a_level_at_price_zero_is_malformed_and_one_of_quantity_zero_is_not() -> None:
    with pytest.raises(Malformed):
        wire.decode_frame(text(DEPTH | {"b": [["0.00000000", "1.0"]]}))
    wire.decode_frame(text(DEPTH | {"b": [["1.0", "0.00000000"]]}))


@pytest.mark.parametrize("field", ["p", "q"])
def test_a_print_of_nothing_is_malformed(field: str) -> None:
    with pytest.raises(Malformed, match="not above 0"):
        wire.decode_frame(text(TRADE | {field: "0.00000000"}))


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"0",
        b'"text"',
        b"true",
        b"\x00\x01\x02",
        b"\xff\xfe{}",
        b'{"stream":"\xff@trade","data":{}}',
        b'{"stream":"btcusdt@depth","data":null}',
        b'{"stream":"btcusdt@depth","data":[]}',
        b'{"stream":"btcusdt@depth"}',
        b'{"stream":"btcusdt@bookTicker","data":{}}',
        b'{"e":"unheard of","E":1}',
        b'{"stream":"x@y","data":{"e":"unheard of","E":1}}',
        b'{"e":1}',
        b'{"data":{"data":{"e":"trade"}}}',
        b"[" * 100_000,
        b'{"data":' * 100_000,
        b'{"stream":"btcusdt@trade","data":' + b'{"e":' * 100_000,
        b'{"lastUpdateId":1,"bids":[],"asks":[]}',
        '{"e":"trade","s":"\ud800"}'.encode("utf-8", "surrogatepass"),
        text({**TRADE, "t": -1}),
        text({**TRADE, "t": 2**63}),
        text({**TRADE, "T": 10**30}),
        text({**TRADE, "m": "perhaps"}),
        text({**TRADE, "s": "X" * 65}),
        text({**AGG_TRADE, "l": 1}),
        text({**DEPTH, "U": 1.5}),
        text({**DEPTH, "b": {}}),
        text({**DEPTH, "b": [["1.0"]]}),
        text({**DEPTH, "b": [["1.0", "1.0", []]]}),
        text({**DEPTH, "b": [[None, "1.0"]]}),
        text({**DEPTH, "s": None}),
        text({key: value for key, value in DEPTH.items() if key != "u"}),
        text({"e": "kline", "s": "X", "k": {**KLINE["k"], "h": "0.1"}}),
    ],
    ids=lambda frame: repr(frame[:40]),
)
def test_what_is_no_message_is_malformed(frame: bytes) -> None:
    with pytest.raises(Malformed):
        wire.decode_frame(frame)


VALID = [combined(stream, event) for stream, event in STREAMS.items()] + [text(event) for event in STREAMS.values()]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(BAD_NUMBERS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


def only_malformed(decode: Callable[[bytes], object], body: bytes) -> None:
    with suppress(Malformed):
        decode(body)


@given(st.sampled_from(VALID), st.data())
def test_no_damage_to_a_frame_raises_anything_else(frame: bytes, data: st.DataObject) -> None:
    damaged = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged)))
        length = data.draw(st.integers(0, 12))
        damaged[place : place + length] = data.draw(st.binary(max_size=6))
    only_malformed(wire.decode_frame, bytes(damaged))


@given(st.sampled_from(sorted(STREAMS)), st.data())
def test_no_value_in_any_field_raises_anything_else(stream: str, data: st.DataObject) -> None:
    event = dict(STREAMS[stream])
    for field in data.draw(st.lists(st.sampled_from(sorted(event)), min_size=1, max_size=3)):
        event[field] = data.draw(json_values)
    for frame in (combined(stream, event), text(event)):
        only_malformed(wire.decode_frame, frame)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    for decode in DECODERS:
        only_malformed(decode, body)


@given(json_values)
def test_no_json_raises_anything_else(value: object) -> None:
    for decode in DECODERS:
        only_malformed(decode, text(value))


DECODERS: list[Callable[[bytes], object]] = [
    wire.decode_frame,
    wire.decode_snapshot,
    wire.decode_klines,
    wire.decode_agg_trades,
    wire.decode_trades,
    wire.decode_server_time,
    wire.decode_ticker_24h,
    wire.decode_error,
    wire.decode_exchange_info,
]


# --- answers ---


def test_a_snapshot(captures: Path) -> None:
    body = (captures / "rest" / "btcusdt_20211022_depth.json").read_bytes()
    taken = wire.decode_snapshot(body, 10)
    assert (taken.update_id, taken.limit, len(taken.bids), len(taken.asks)) == (14527958487, 10, 10, 10)
    assert taken.bids[0] == (60650.0, 0.00213)
    assert wire.decode_snapshot(body).limit is None


def test_candles(captures: Path) -> None:
    klines = wire.decode_klines((captures / "rest" / "btcusdt_20211022_klines.json").read_bytes())
    assert klines[0] == wire.Kline(
        open_time_ms=1634943780000,
        close_time_ms=1634943839999,
        open=D("60685.22000000"),
        high=D("60729.84000000"),
        low=D("60670.90000000"),
        close=D("60719.27000000"),
        volume=D("21.63272000"),
        quote_volume=D("1313200.01340410"),
        trades=617,
    )
    assert [kline.open_time_ms for kline in klines] == sorted(kline.open_time_ms for kline in klines)


def test_trades_alone_and_aggregated(captures: Path) -> None:
    folder = captures / "rest"
    trades = wire.decode_trades((folder / "btcusdt_20211022_trades.json").read_bytes())
    assert trades[0] == Trade(
        id=1111468873, price=D("60650.00"), quantity=D("0.02924"), buyer_is_maker=True, time_ms=1634942949263
    )
    assert len(wire.decode_trades((folder / "btcusdt_20211022_historical_trades.json").read_bytes())) > 0
    joined = wire.decode_agg_trades((folder / "btcusdt_20211022_agg_trades.json").read_bytes())
    assert (joined[0].id, joined[0].symbol, joined[0].price) == (966492862, "", D("60759.60"))


def test_day_figures_over_rest(captures: Path) -> None:
    figures = wire.decode_ticker_24h((captures / "rest" / "btcusdt_20211217_ticker_24hr.json").read_bytes())
    assert (figures.symbol, figures.last_price) == ("BTCUSDT", D("47174.97"))
    assert figures.ticker.price_change_percent == D("-3.531")
    assert figures.ticker.time_ms == 1639734042763


def test_the_clock_and_a_refusal() -> None:
    assert wire.decode_server_time(b'{"serverTime":1499827319559}') == 1499827319559
    assert wire.decode_error(b'{"code":-1121,"msg":"Invalid symbol."}') == wire.VenueFault(
        code=-1121, text="Invalid symbol."
    )
    with pytest.raises(Malformed):
        wire.decode_error(b"<html>451</html>")
    with pytest.raises(Malformed):
        wire.decode_klines(b'[[1,"2","1","1","1","1",2,"1",1,"1","1","0"]]')


# --- trading rules ---


def test_rules_in_the_old_spelling(captures: Path) -> None:
    info = wire.decode_exchange_info(
        gzip.decompress((captures / "rest" / "exchangeInfo_20211012_full.json.gz").read_bytes())
    )
    assert (len(info.symbols), info.unreadable, info.simulated) == (1695, (), False)
    rules = {symbol.name: symbol for symbol in info.symbols}["BTCUSDT"]
    assert (rules.tick_size, rules.step_size, rules.min_notional) == (D("0.01"), D("0.00001"), D(10))
    assert (rules.max_notional, rules.min_notional_applies_to_market, rules.average_price_minutes) == (None, True, 5)
    assert rules.percent_price is not None
    assert (rules.percent_price.bid_up, rules.percent_price.ask_down) == (D(5), D("0.2"))
    assert sum(symbol.is_trading for symbol in info.symbols) == 1262


def test_rules_in_the_new_spelling(captures: Path) -> None:
    info = wire.decode_exchange_info((captures / "rest" / "exchangeInfo_20240908_majors.json").read_bytes())
    rules = {symbol.name: symbol for symbol in info.symbols}["BTCUSDT"]
    assert (rules.min_notional, rules.max_notional) == (D(5), D(9_000_000))
    assert (rules.min_notional_applies_to_market, rules.max_notional_applies_to_market) == (True, False)
    assert (rules.market_step_size, rules.market_max_quantity) == (D(0), D("129.84957276"))
    assert (rules.max_open_orders, rules.price_decimals, rules.quantity_decimals) == (200, 2, 5)


def test_rules_of_2025_and_2026(captures: Path) -> None:
    lines = (captures / "rest" / "exchangeInfo_examples_2025_2026.jsonl").read_bytes().splitlines()
    etherbtc, btcusd, share = (wire.decode_exchange_info(line).symbols[0] for line in lines)
    assert (etherbtc.name, btcusd.name, share.name) == ("ETHBTC", "BTCUSD", "TSLABUSDT")
    assert btcusd.max_notional is None, "MIN_NOTIONAL and no NOTIONAL"
    assert share.percent_price is not None
    assert (share.percent_price.bid_up, share.percent_price.ask_down) == (D("1.1"), D("0.9"))


def listing(**changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "symbol": "BTCUSDT",
        "status": "TRADING",
        "baseAsset": "BTC",
        "baseAssetPrecision": 8,
        "quoteAsset": "USDT",
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000.0", "stepSize": "0.00001"},
        ],
    }
    return usual | changes


def test_a_symbol_with_the_barest_rules_has_the_others_switched_off() -> None:
    (rules,) = wire.decode_exchange_info(text({"symbols": [listing()]})).symbols
    assert (rules.min_notional, rules.max_notional, rules.percent_price, rules.max_open_orders) == (
        D(0),
        None,
        None,
        None,
    )
    assert (rules.market_step_size, rules.average_price_minutes) == (D(0), 0)


def test_a_venue_says_of_itself_that_it_is_simulated() -> None:
    assert wire.decode_exchange_info(text({"simulated": True, "symbols": [listing()]})).simulated


@pytest.mark.parametrize(
    "odd",
    [
        listing(symbol="ODD", filters=[]),
        listing(symbol="ODD", baseAssetPrecision=99),
        listing(symbol="ODD", filters=[*listing()["filters"], {"filterType": "NOTIONAL", "minNotional": "NaN"}]),
        listing(symbol="ODD", filters=[*listing()["filters"], {"filterType": "NOTIONAL", "minNotional": "-1"}]),
        listing(symbol="ODD", orderTypes=None),
        {"symbol": "ODD"},
    ],
)
def test_one_odd_symbol_is_named_and_left_out(odd: dict[str, Any]) -> None:
    info = wire.decode_exchange_info(text({"symbols": [listing(), odd]}))
    assert [symbol.name for symbol in info.symbols] == ["BTCUSDT"]
    ((name, reason),) = info.unreadable
    assert name == "ODD"
    assert reason


def test_a_venue_with_odd_symbols_only_is_malformed() -> None:
    with pytest.raises(Malformed, match="ODD"):
        wire.decode_exchange_info(text({"symbols": [{"symbol": "ODD"}]}))


def test_a_venue_without_symbols_is_read() -> None:
    assert wire.decode_exchange_info(b'{"symbols":[]}').symbols == ()
