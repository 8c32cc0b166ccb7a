"""Paper Exchange: paper orders against a live market.

The rooms: `exchange` decides (pure), `binance` listens to the venue, `store` keeps, `api` speaks HTTP, `runtime` owns
the threads that connect them, and `simulator` is a small venue of our own for working offline.
"""

__version__ = "0.1.0"
