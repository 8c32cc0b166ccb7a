"""The rules of every symbol of a venue, kept on disk: a start while the venue does not answer still knows them.

One file per venue in the data directory, the venue's own answer, compressed. It is replaced whole, so a crash leaves
the old one or the new one. No lock: one owner.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Final

import structlog

from trading_engine.binance import wire
from trading_engine.binance.rest import LISTING_LIMIT_BYTES, VenueClient, VenueError

log = structlog.stdlib.get_logger(__name__)

_NAME: Final = "exchange_info_{venue}.json.gz"


class Listing:
    """A venue's `exchangeInfo`: asked for, kept, and read back."""

    def __init__(self, client: VenueClient, *, venue: str, folder: Path) -> None:
        """`venue` is a plain name such as "binance-us"; `folder` exists."""
        self._client = client
        self._path = folder / _NAME.format(venue=venue)

    def fetch(self) -> wire.ExchangeInfo:
        """Ask the venue for all its symbols and keep the answer; raise VenueError when it has none."""
        body = self._client.exchange_info_body()
        info = self._client.read_exchange_info(body)
        self._keep(body)
        return info

    def kept(self) -> wire.ExchangeInfo | None:
        """Return what was kept last, None when nothing (readable) was. Statuses in it may be out of date."""
        try:
            with gzip.open(self._path) as file:
                body = file.read(LISTING_LIMIT_BYTES + 1)
            return self._client.read_exchange_info(body)
        except FileNotFoundError:
            return None
        except (OSError, EOFError, VenueError) as error:
            log.warning("the kept list of symbols cannot be read", path=str(self._path), reason=str(error))
            return None

    def _keep(self, body: bytes) -> None:
        """Write beside the old file, then take its place; a full disk costs the cache, not the answer."""
        beside = self._path.with_suffix(".new")
        try:
            with beside.open("wb") as raw:
                with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=5) as file:
                    file.write(body)
                raw.flush()
                os.fsync(raw.fileno())
            beside.replace(self._path)
        except OSError as error:
            log.warning("the list of symbols cannot be kept", path=str(self._path), reason=str(error))
