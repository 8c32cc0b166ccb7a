"""The application for WSGI servers and Flask's commands: `gunicorn wsgi:app`, `flask --app wsgi run`.

Importing this starts no thread. gunicorn starts the runtime by its hooks (`trading_engine.serve`). Flask's
development server has none, so there it is started here: only by the command `run`, and with the reloader only in the
process that serves.
"""

import atexit
import os
import signal
import sys

import click
from flask import Flask
from flask.helpers import get_debug_flag

from trading_engine.api import EXTENSION
from trading_engine.app import create_app
from trading_engine.config import Config, ConfigError
from trading_engine.runtime import Runtime


def _make() -> Flask:
    config = Config.or_exit()
    application = create_app(config)
    command = click.get_current_context(silent=True)
    if command is not None and command.info_name == "run":
        _serve(application.extensions[EXTENSION], config, command)
    return application


def _serve(runtime: Runtime, config: Config, command: click.Context) -> None:
    """Start the runtime for Flask's development server, and have it stopped however that ends."""
    try:
        config.check_bind(str(command.params.get("host") or "127.0.0.1"))
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    reloads = command.params.get("reload")
    if (get_debug_flag() if reloads is None else reloads) and os.environ.get("WERKZEUG_RUN_MAIN") != "true":
        return  # the parent of the process that serves: it only watches the files
    atexit.register(runtime.stop)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    runtime.start()


app = _make()
