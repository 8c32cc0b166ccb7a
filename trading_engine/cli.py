"""Commands of `flask --app wsgi …`. Each does its work without the server, and says in one line what it did."""

from __future__ import annotations

import click
from flask import Flask

from trading_engine.config import Config
from trading_engine.store import Store, StoreUnavailable, StoreUnusable


def install(app: Flask) -> None:
    """Add the commands to the application."""
    app.cli.add_command(_database)


@click.group("db")
def _database() -> None:
    """Look after the database."""


@_database.command("upgrade")
def _upgrade() -> None:
    """Bring the database's tables up to date; the server does this itself at start."""
    config = Config.or_exit()
    store = Store(config.database)
    try:
        store.migrate()
    except (StoreUnavailable, StoreUnusable) as error:
        raise click.ClickException(f"{store.name}: {error}") from error
    click.echo(f"{store.name} is up to date")
