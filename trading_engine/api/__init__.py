"""Our HTTP: what a request may say, what an answer looks like. Knows the runtime and everything below, no SQL.

Views are handed checked input by `operations` and return plain values; nothing here calculates money or starts a
thread. The one way to the running program is `current_runtime`.
"""

from typing import cast

from flask import current_app

from trading_engine.runtime import Runtime

EXTENSION = "paper_exchange"
"""The runtime's place in `Flask.extensions`."""


def current_runtime() -> Runtime:
    """Return the runtime of the application that answers this request."""
    return cast("Runtime", current_app.extensions[EXTENSION])
