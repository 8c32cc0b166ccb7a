"""Control commands that break diffs, sockets and requests; `control.py` describes each."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from websockets.frames import CloseCode, Opcode

from trading_engine.simulator.arguments import Arguments, BadCommand
from trading_engine.simulator.faults import StatusRule
from trading_engine.simulator.listings import Json
from trading_engine.simulator.plant import (
    PING_EVERY_S,
    PONG_WITHIN_S,
    Plant,
    chosen_market,
    chosen_peers,
    one_market,
)
from trading_engine.simulator.sockets import Peer, frame
from trading_engine.simulator.wire import compact

LATEST_TRADE_S = 10
_NEVER_SENT = (1004, 1005, 1006, 1015)  # RFC 6455 §7.4.1: reserved, must not be in a close frame


def drop(plant: Plant, arguments: Arguments) -> Json:
    """Lose the next diffs."""
    market, count = one_market(plant, arguments), arguments.count()
    arguments.finish()
    plant.faults.diffs_of(market.name).drop += count
    return {}


def duplicate(plant: Plant, arguments: Arguments) -> Json:
    """Send the next diffs twice."""
    market, count = one_market(plant, arguments), arguments.count()
    arguments.finish()
    plant.faults.diffs_of(market.name).duplicate += count
    return {}


def swap(plant: Plant, arguments: Arguments) -> Json:
    """Send diffs in the wrong order."""
    market, count = one_market(plant, arguments), arguments.count()
    arguments.finish()
    plant.faults.diffs_of(market.name).swap += count
    return {}


def drop_trades(plant: Plant, arguments: Arguments) -> Json:
    """Lose the next trades."""
    market, count = one_market(plant, arguments), arguments.count()
    arguments.finish()
    plant.faults.lost_trades[market.name] = plant.faults.lost_trades.get(market.name, 0) + count
    return {}


def late_trades(plant: Plant, arguments: Arguments) -> Json:
    """Let trades come after the diffs that hold them."""
    market, delay = one_market(plant, arguments), arguments.seconds("delay_s")
    arguments.finish()
    if delay > LATEST_TRADE_S:
        raise BadCommand(f"delay_s must be at most {LATEST_TRADE_S}")
    plant.faults.trade_delays[market.name] = delay
    return {}


def stale_snapshot(plant: Plant, arguments: Arguments) -> Json:
    """Answer depth requests with the book of this moment."""
    market, count = one_market(plant, arguments), arguments.count()
    arguments.finish()
    snapshot = plant.exchange.touch(market.name, plant.now_ms()).snapshot(5_000)
    plant.rest.stale[market.name] = (snapshot, count)
    return {"lastUpdateId": snapshot[0]}


def cut(plant: Plant, arguments: Arguments) -> Json:
    """End WebSockets."""
    code, reason = arguments.maybe_count("code", least=1000), arguments.get("reason", (str,), "")
    peers = chosen_peers(plant, arguments)
    arguments.finish()
    if code is not None and (code >= 5000 or code in _NEVER_SENT):
        raise BadCommand("code must be a close code that may be sent")
    if len(reason.encode()) > 123:
        raise BadCommand("reason must be at most 123 bytes")
    for peer in peers:
        if code is None:
            peer.reset()
        else:
            peer.close(code, reason)
    return {"sockets": len(peers)}


def freeze(plant: Plant, arguments: Arguments) -> Json:
    """Fall silent without closing."""
    peers = chosen_peers(plant, arguments)
    arguments.finish()
    for peer in peers:
        peer.frozen = True
    return {"sockets": len(peers)}


def cut_frame(plant: Plant, arguments: Arguments) -> Json:
    """Send the beginning of a frame, then fall silent."""
    count, size = arguments.count("bytes", default=3), arguments.count("size", default=256)
    peers = chosen_peers(plant, arguments)
    arguments.finish()
    whole = frame(b'{"e":"trade","E":'.ljust(size, b"1")[:size])
    if count >= len(whole):
        raise BadCommand(f"bytes must be below {len(whole)}, the length of the whole frame")
    for peer in peers:
        peer.write(whole[:count])
        peer.frozen = peer.broken = True
    return {"sockets": len(peers)}


def garbage(plant: Plant, arguments: Arguments) -> Json:
    """Send frames as given."""
    written, digits = arguments.get("text", (str,), None), arguments.get("hex", (str,), None)
    opcode = Opcode.BINARY if arguments.flag("binary", default=False) else Opcode.TEXT
    count, peers = arguments.count(), chosen_peers(plant, arguments)
    arguments.finish()
    if (written is None) == (digits is None):
        raise BadCommand("give either text or hex")
    try:
        payload = written.encode() if digits is None else bytes.fromhex(digits)
    except ValueError:
        raise BadCommand("text must be Unicode, hex pairs of hexadecimal digits") from None
    for peer in peers:
        for _ in range(count):
            peer.send(payload, opcode)
    return {"sockets": len(peers)}


def mute(plant: Plant, arguments: Arguments) -> Json:
    """Keep stream messages back."""
    market, seconds = chosen_market(plant, arguments), arguments.maybe_seconds()
    arguments.finish()
    until = None if seconds is None else plant.seconds() + seconds
    plant.faults.muted["*" if market is None else market.name] = until
    return {}


def unmute(plant: Plant, arguments: Arguments) -> Json:
    """Let stream messages through again."""
    market = chosen_market(plant, arguments)
    arguments.finish()
    if market is None:
        plant.faults.muted.clear()
    else:
        plant.faults.muted.pop(market.name, None)
    return {}


def refuse(plant: Plant, arguments: Arguments) -> Json:
    """Close the port."""
    seconds = arguments.seconds()
    arguments.finish()
    plant.refuse(seconds)
    return {}


def reset(plant: Plant, arguments: Arguments) -> Json:
    """Reset every connection at its next request that is not for the control endpoint."""
    seconds = arguments.seconds()
    arguments.finish()
    plant.faults.reset_until = plant.seconds() + seconds
    return {}


def hang_handshake(plant: Plant, arguments: Arguments) -> Json:
    """Accept WebSockets but never answer."""
    count, seconds = arguments.maybe_count(), arguments.maybe_seconds()
    arguments.finish()
    plant.faults.hang_left = count
    plant.faults.hang_until = None if seconds is None else plant.seconds() + seconds
    return {}


def ping(plant: Plant, arguments: Arguments) -> Json:
    """Change the ping interval and the patience for a pong."""
    every, within = arguments.maybe_seconds("every_s"), arguments.maybe_seconds("timeout_s")
    arguments.finish()
    plant.ping_every_s = PING_EVERY_S if every is None else every
    plant.pong_within_s = PONG_WITHIN_S if within is None else within
    return {}


def shutdown(plant: Plant, arguments: Arguments) -> Json:
    """Announce the end of every connection, then end it."""
    after = arguments.maybe_seconds("after_s")
    arguments.finish()
    peers = list(plant.hub.peers)
    event = compact({"e": "serverShutdown", "E": plant.now_ms() + plant.rest.skew_ms})
    for peer in peers:
        peer.send(event.encode())
    plant.later(1.0 if after is None else after, lambda: _close_all(peers))
    return {"sockets": len(peers)}


def status(plant: Plant, arguments: Arguments) -> Json:
    """Answer requests on a path with a status."""
    seconds = arguments.maybe_seconds()
    rule = StatusRule(
        path=arguments.words("path"),
        status=arguments.get("status", (int,)),
        left=arguments.maybe_count(),
        until=None if seconds is None else plant.seconds() + seconds,
        retry_after=arguments.maybe_count("retry_after", least=0),
        body=arguments.get("body", (str,), None),
    )
    arguments.finish()
    if not 200 <= rule.status <= 599:
        raise BadCommand("status must be between 200 and 599")
    plant.faults.statuses.append(rule)
    return {}


def clock(plant: Plant, arguments: Arguments) -> Json:
    """Let the exchange's clock be wrong."""
    offset_ms = arguments.get("offset_ms", (int,))
    arguments.finish()
    skew(plant, offset_ms)
    return {}


def skew(plant: Plant, offset_ms: int) -> None:
    """Add `offset_ms` to every time the exchange states."""
    plant.rest.skew_ms = offset_ms
    for market in plant.exchange.markets.values():
        market.skew_ms = offset_ms


def _close_all(peers: Iterable[Peer]) -> None:
    for peer in peers:
        peer.close(CloseCode.GOING_AWAY, "server shutdown")


COMMANDS: dict[str, Callable[[Plant, Arguments], Json]] = {
    command.__name__: command
    for command in (
        drop,
        duplicate,
        swap,
        drop_trades,
        late_trades,
        stale_snapshot,
        cut,
        freeze,
        cut_frame,
        garbage,
        mute,
        unmute,
        refuse,
        reset,
        hang_handshake,
        ping,
        shutdown,
        status,
        clock,
    )
}
