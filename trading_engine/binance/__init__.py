"""Everything that knows a Binance field name: decoding, the depth procedure, REST questions, feed connections.

May import `exchange`, never `store`, `api` or `runtime`. Threads here are started by the runtime. Each module's
docstring names the lock that guards it; most need none.
"""
