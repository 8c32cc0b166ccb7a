"""The settings, read once from the environment into one frozen `Config`.

A leaf: imports nothing of ours but how a latency is written. Every setting is a line in `Config` and a line in the
README. A wrong value is a `ConfigError`: one line with the variable, what it held and the rule. Secrets never appear in
a repr or an error. An empty variable counts as not set. A `.env` file in the working directory fills in what the
environment leaves out, without entering `os.environ` (and so without reaching child processes).
"""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn, TypeVar
from urllib.parse import urlsplit

from environs import Env

from trading_engine.exchange.latency import FORMS, LONGEST_MS, WIDEST_SIGMA, LatencyModel

MARKETS = ("auto", "binance", "binance-us", "simulated")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
LOG_FORMATS = ("console", "json")
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
PLATFORM_HOSTS = ("RENDER_EXTERNAL_HOSTNAME", "RAILWAY_PUBLIC_DOMAIN")
"""Where Render and Railway put the public host name of a service."""
MAX_SYMBOLS = 200
"""One SUBSCRIBE batch of the feed; each followed symbol also costs its share of the venue's request weight."""
HIGHEST_FEE_RATE = Decimal("0.1")
NO_LATENCY = LatencyModel(in_ms=Decimal(0), out_ms=Decimal(0))
DATABASE_SCHEMES = ("sqlite", "postgresql", "postgres", "postgresql+psycopg")

_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,14})(\.[0-9]{1,18})?", re.ASCII)
_SYMBOL = re.compile(r"[^\W_]{2,40}")  # the venue's own names; some of Binance's hold Chinese characters
_ASSET = re.compile(r"[A-Z0-9]{1,20}", re.ASCII)
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?|\[[0-9a-f:.]+\]", re.ASCII)

Value = TypeVar("Value")


class ConfigError(ValueError):
    """A setting is wrong; the text is one line for the person who starts the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings; the defaults are those of a fresh clone. Rates are fractions: 0.001 is 0.1 %."""

    host: str = "127.0.0.1"
    port: int = 8080
    market: str = "auto"
    market_rest_url: str | None = None
    market_ws_url: str | None = None
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    data_dir: Path = Path("data")
    database_url: str = field(default="", repr=False)
    """Empty: the SQLite file in `data_dir` (see `database`)."""
    public: bool = False
    access_password: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = LOOPBACK_NAMES
    accounts: str = "single"
    starting_balance: Mapping[str, Decimal] = field(default_factory=lambda: MappingProxyType({"USDT": Decimal(100000)}))
    maker_fee_rate: Decimal = Decimal("0.001")
    taker_fee_rate: Decimal = Decimal("0.001")
    latency_ms: LatencyModel = NO_LATENCY
    log_level: str = "info"
    log_format: str = "json"

    @property
    def database(self) -> str:
        """The database's address; without DATABASE_URL a SQLite file in the data directory."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'paper-exchange.db'}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that must never be logged."""
        password = urlsplit(self.database_url).password if self.database_url else None
        return tuple(secret for secret in (self.access_password, password) if secret)

    @classmethod
    def from_environment(cls, env_file: Path | None = None) -> Config:
        """Read, check and return the settings; create the data directory. Raise `ConfigError` for a wrong value."""
        env = Env()
        env.read_env(env_file or Path(".env"), recurse=False)
        read = _Reader(env)
        host, port, public = _bind(read)
        password = read.text("ACCESS_PASSWORD")
        rest_url, ws_url = _venue_addresses(read)
        data_dir = read.value("DATA_DIR", _directory) or _directory("DATA_DIR", "data")
        config = cls(
            host=host,
            port=port,
            market=read.value("MARKET", _market) or "auto",
            market_rest_url=rest_url,
            market_ws_url=ws_url,
            symbols=read.value("SYMBOLS", _symbols) or cls().symbols,
            data_dir=data_dir,
            database_url=read.value("DATABASE_URL", _database_url) or "",
            public=public,
            access_password=password,
            allowed_hosts=_allowed_hosts(read, host),
            accounts=read.value("ACCOUNTS", _accounts) or "single",
            starting_balance=read.value("STARTING_BALANCE", _balances) or cls().starting_balance,
            maker_fee_rate=read.given("MAKER_FEE_RATE", _fee_rate, cls().maker_fee_rate),
            taker_fee_rate=read.given("TAKER_FEE_RATE", _fee_rate, cls().taker_fee_rate),
            latency_ms=read.given("LATENCY_MS", _latency, NO_LATENCY),
            log_level=read.value("LOG_LEVEL", _one_of(LOG_LEVELS)) or "info",
            log_format=read.value("LOG_FORMAT", _one_of(LOG_FORMATS)) or _log_format_for_here(),
        )
        config.check_bind(host)
        return config

    def check_bind(self, host: str) -> None:
        """Raise `ConfigError` where other machines could reach `host` although the settings do not provide for it."""
        if is_loopback(host):
            return
        if not self.public:
            _wrong("HOST", host, "other machines could reach this address; that needs PUBLIC=1 and ACCESS_PASSWORD")
        if not self.access_password:
            raise ConfigError(
                f"ACCESS_PASSWORD is not set: listening on {host} with PUBLIC=1 lets strangers in; "
                "choose a password for the page and the API"
            )

    @classmethod
    def or_exit(cls) -> Config:
        """Return the settings of the environment, or say what is wrong in one line and exit with status 2."""
        try:
            return cls.from_environment()
        except ConfigError as error:
            sys.stderr.write(f"paper-exchange cannot start: {error}\n")
            raise SystemExit(2) from None


class _Reader:
    """Reads variables by name and hands their text, stripped, to a parser that knows the rule."""

    def __init__(self, env: Env) -> None:
        self._env = env

    def text(self, name: str) -> str | None:
        value: str | None = self._env.str(name, default=None)
        return (value.strip() or None) if value is not None else None

    def value(self, name: str, parse: Callable[[str, str], Value]) -> Value | None:
        text = self.text(name)
        return None if text is None else parse(name, text)

    def given(self, name: str, parse: Callable[[str, str], Value], default: Value) -> Value:
        """As `value`, for types whose zero is a proper value."""
        text = self.text(name)
        return default if text is None else parse(name, text)


def _wrong(name: str, text: str, rule: str) -> NoReturn:
    raise ConfigError(f"{name}={_one_line(text)} is wrong: {rule}")


def _one_line(text: str) -> str:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return repr(shown)


def _one_of(choices: tuple[str, ...]) -> Callable[[str, str], str]:
    def parse(name: str, text: str) -> str:
        if text.lower() not in choices:
            _wrong(name, text, f"it must be one of {', '.join(choices)}")
        return text.lower()

    return parse


def _bind(read: _Reader) -> tuple[str, int, bool]:
    public = read.value("PUBLIC", _switch) or False
    host = read.value("HOST", _host)
    port = read.text("PORT")
    if host is None:
        # A platform gives a port and expects every interface; only who says PUBLIC=1 gets that.
        host = "0.0.0.0" if port is not None and public else "127.0.0.1"  # noqa: S104 - refused without a password below
    return host, 8080 if port is None else _port("PORT", port), public


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _switch(name: str, text: str) -> bool:
    answers = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in answers:
        _wrong(name, text, "it must be 1 or 0")
    return answers[text.lower()]


def _host(name: str, text: str) -> str:
    host = text.lower()
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        if not _HOST_NAME.fullmatch(host) or re.fullmatch(r"[0-9.]+", host):
            _wrong(name, text, "it must be an IP address or a host name, without a port")
        return host


def _port(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or int(text) > 65535:
        _wrong(name, text, "it must be a port number from 0 to 65535 (0 takes a free one)")
    return int(text)


def _market(name: str, text: str) -> str:
    if text.lower().startswith("replay:"):
        _wrong(name, text, "replay is not available in this version")
    return _one_of(MARKETS)(name, text)


def _accounts(name: str, text: str) -> str:
    if text.lower() == "multi":
        _wrong(name, text, "several accounts are not available in this version; leave it out or say single")
    return _one_of(("single",))(name, text)


def _latency(name: str, text: str) -> LatencyModel:
    try:
        return LatencyModel.parse(text)
    except ValueError:
        _wrong(name, text, f"it must be {FORMS}; at most {LONGEST_MS} ms, a SIGMA of at most {WIDEST_SIGMA}")


def _venue_addresses(read: _Reader) -> tuple[str | None, str | None]:
    rest = read.value("MARKET_REST_URL", _origin(("http", "https")))
    ws = read.value("MARKET_WS_URL", _origin(("ws", "wss")))
    if (rest is None) != (ws is None):
        missing = "MARKET_WS_URL" if ws is None else "MARKET_REST_URL"
        raise ConfigError(f"{missing} is not set: MARKET_REST_URL and MARKET_WS_URL are only used together")
    return rest, ws


def _origin(schemes: tuple[str, ...]) -> Callable[[str, str], str]:
    def parse(name: str, text: str) -> str:
        rule = f"it must be an origin such as {schemes[0]}://127.0.0.1:9000, without a path"
        try:
            parts = urlsplit(text)
            usable = parts.scheme in schemes and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable or parts.path.strip("/") or parts.query or parts.fragment or parts.username:
            _wrong(name, text, rule)
        return f"{parts.scheme}://{parts.netloc}"

    return parse


def _symbols(name: str, text: str) -> tuple[str, ...]:
    symbols: dict[str, None] = {}
    for part in text.upper().split(","):
        symbol = part.strip()
        if "*" in symbol:
            _wrong(name, text, "patterns are not available in this version; list the symbols")
        if not _SYMBOL.fullmatch(symbol):
            _wrong(name, text, "it must be a comma-separated list of symbols such as BTCUSDT,ETHUSDT")
        symbols[symbol] = None
    if len(symbols) > MAX_SYMBOLS:
        _wrong(name, text, f"it may name at most {MAX_SYMBOLS} symbols")
    return tuple(symbols)


def _directory(name: str, text: str) -> Path:
    path = Path(text).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        _wrong(name, text, f"it must be a directory this program may create and write ({error.strerror or error})")
    return path


def _database_url(name: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        named = bool(parts.path.strip("/"))
        _ = parts.port  # raises for a port that is no number
    except ValueError:
        named = False
    # The value is not repeated: it usually holds a password.
    if not named or parts.scheme not in DATABASE_SCHEMES or ":memory:" in text:
        raise ConfigError(
            f"{name} is wrong: it must be sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME (or postgres://)"
        )
    if parts.scheme == "sqlite" and parts.netloc:
        raise ConfigError(f"{name} is wrong: a SQLite path comes after three slashes, as in sqlite:///data/exchange.db")
    return text


def _allowed_hosts(read: _Reader, host: str) -> tuple[str, ...]:
    names = dict.fromkeys(LOOPBACK_NAMES)
    if not _is_any(host):
        names[f"[{host}]" if ":" in host else host] = None
    for platform in PLATFORM_HOSTS:
        platform_host = read.text(platform)
        if platform_host:
            names[platform_host.lower()] = None
    listed = read.text("ALLOWED_HOSTS")
    for part in listed.lower().split(",") if listed else ():
        if not _HOST_NAME.fullmatch(part.strip()):
            _wrong("ALLOWED_HOSTS", part, "it must be a comma-separated list of host names without scheme and port")
        names[part.strip()] = None
    return tuple(names)


def _is_any(host: str) -> bool:
    """Say whether the address means every interface (0.0.0.0 or ::), and so is no name a client would use."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _balances(name: str, text: str) -> Mapping[str, Decimal]:
    rule = "it must be a list such as USDT=100000,BTC=1 with amounts above zero"
    balances: dict[str, Decimal] = {}
    for part in text.split(","):
        asset, equals, amount = (piece.strip() for piece in part.partition("="))
        asset = asset.upper()
        if not equals or not _ASSET.fullmatch(asset) or not _AMOUNT.fullmatch(amount) or not Decimal(amount):
            _wrong(name, text, rule)
        if asset in balances:
            _wrong(name, text, f"it names {asset} twice")
        balances[asset] = Decimal(amount)
    return MappingProxyType(balances)


def _fee_rate(name: str, text: str) -> Decimal:
    if not re.fullmatch(r"0(\.[0-9]{1,8})?", text, re.ASCII) or Decimal(text) > HIGHEST_FEE_RATE:
        _wrong(name, text, f"it must be a fraction from 0 to {HIGHEST_FEE_RATE}, at most 8 decimals; 0.001 is 0.1 %")
    return Decimal(text)


def _log_format_for_here() -> str:
    return "console" if sys.stderr.isatty() else "json"
