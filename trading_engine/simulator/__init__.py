"""A small exchange of our own that speaks Binance Spot's public wire protocol over real sockets.

It is what tests, demonstrations and machines without a network trade on. It runs as a process of its own
(`python -m trading_engine.simulator`), is reached only through its sockets and imports nothing else of this project: it
shares no code with `trading_engine.binance`, so a mistaken field name cannot cancel out.

The rooms, from the inside out:

    grains.py          whole numbers of 1e-8, their text, seeded randomness
    listings.py        coins and symbols: tick and lot sizes, filters, exchangeInfo rows
    fair.py            latent fair prices of the coins
    book.py            price levels with their queues, matching, what changed since the last diff
    sizes.py           how large orders are
    garden.py          the deep book and who keeps it
    flow.py            who adds, cancels and takes: the order flow of one symbol
    candles.py         candles: intervals, folding, splitting
    history.py         the drawn past and the recorded one of a symbol
    tape.py            recent prints
    chart.py           timeline, running minute and tape of a symbol seen as one
    wire.py            the JSON text of every message
    market.py          one symbol put together; time is an argument
    exchange.py        all symbols and the fair prices behind them
    rest.py            the REST answers
    faults.py          the switches that break things on purpose
    sockets.py         HTTP and WebSocket on one port, frame by frame
    hub.py             who listens to what
    control.py         the control endpoint; its docstring lists every command
    arguments.py       the fields of a command
    plant.py           what commands work on
    control_faults.py  commands that break diffs, sockets and requests
    control_market.py  commands that put hands on the market
    state.py           the state file
    server.py          the loop that joins them
    __main__.py        the command line

Everything up to `faults.py` is pure: no socket, file, clock or thread.
"""
