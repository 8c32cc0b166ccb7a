"""Settings: what may be said, what is refused and how, and that a secret is never repeated."""

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from trading_engine.config import MAX_SYMBOLS, Config, ConfigError

NAMES = (
    *("HOST", "PORT", "MARKET", "MARKET_REST_URL", "MARKET_WS_URL", "SYMBOLS", "DATA_DIR", "DATABASE_URL", "PUBLIC"),
    *("ACCESS_PASSWORD", "ALLOWED_HOSTS", "ACCOUNTS", "STARTING_BALANCE", "MAKER_FEE_RATE", "TAKER_FEE_RATE"),
    *("LATENCY_MS", "LOG_LEVEL", "LOG_FORMAT", "RENDER_EXTERNAL_HOSTNAME", "RAILWAY_PUBLIC_DOMAIN"),
)


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever the machine's environment says, and no file of settings but the test's own."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def settings(monkeypatch: pytest.MonkeyPatch, **values: str) -> Config:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return Config.from_environment()


def refusal(monkeypatch: pytest.MonkeyPatch, **values: str) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(monkeypatch, **values)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_fresh_clone_serves_itself_with_the_documented_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(monkeypatch)
    assert (config.host, config.port, config.market) == ("127.0.0.1", 8080, "auto")
    assert config.symbols == ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    assert config.starting_balance == {"USDT": Decimal(100000)}
    assert (config.maker_fee_rate, config.taker_fee_rate) == (Decimal("0.001"), Decimal("0.001"))
    assert config.database == f"sqlite:///{Path('data').absolute()}/paper-exchange.db"
    assert not config.public
    assert config.latency_ms.is_off
    assert Path("data").is_dir()


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch, PORT="", MARKET=" ", SYMBOLS="", ACCESS_PASSWORD="").access_password is None


def test_values_are_read_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(
        monkeypatch,
        MARKET="Binance-US",
        SYMBOLS=" btcusdt, ETHBTC,btcusdt ",
        STARTING_BALANCE="USDT=100000.10, btc=1.00000001",
        MAKER_FEE_RATE="0",
        TAKER_FEE_RATE="0.00075",
        LATENCY_MS="fixed:20/35.5",
        LOG_LEVEL="DEBUG",
        DATABASE_URL="postgres://paper:se%40cret@db.example/paper",
    )
    assert config.market == "binance-us"
    assert config.symbols == ("BTCUSDT", "ETHBTC")
    assert config.starting_balance == {"USDT": Decimal("100000.10"), "BTC": Decimal("1.00000001")}
    assert (config.maker_fee_rate, config.taker_fee_rate) == (Decimal(0), Decimal("0.00075"))
    assert (config.latency_ms.in_ms, config.latency_ms.out_ms) == (Decimal(20), Decimal("35.5"))
    assert config.log_level == "debug"
    assert config.database == "postgres://paper:se%40cret@db.example/paper"


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    (
        ("PORT", "80x", "port number"),
        ("PORT", "65536", "port number"),
        ("PORT", "-1", "port number"),
        ("PORT", "٨٠", "port number"),
        ("HOST", "http://x", "host name"),
        ("HOST", "300.1.1.1", "IP address"),
        ("MARKET", "kraken", "auto, binance, binance-us, simulated"),
        ("MARKET", "replay:tape.gz", "not available in this version"),
        ("ACCOUNTS", "multi", "not available in this version"),
        ("ACCOUNTS", "many", "single"),
        ("LATENCY_MS", "-1", "fixed:IN/OUT"),
        ("LATENCY_MS", "10001", "at most 10000 ms"),
        ("LATENCY_MS", "lognormal(20, 0.5)", "lognormal:MEDIAN,SIGMA"),
        ("LATENCY_MS", "lognormal:20,4", "SIGMA of at most 3"),
        ("LATENCY_MS", "fixed:20", "fixed:IN/OUT"),
        ("SYMBOLS", "*USDT", "not available in this version"),
        ("SYMBOLS", "BTCUSDT,,ETHUSDT", "comma-separated"),
        ("SYMBOLS", "BTC/USDT", "comma-separated"),
        ("SYMBOLS", ",".join(f"A{n}USDT" for n in range(MAX_SYMBOLS + 1)), f"at most {MAX_SYMBOLS}"),
        ("STARTING_BALANCE", "100000", "USDT=100000"),
        ("STARTING_BALANCE", "USDT=-5", "above zero"),
        ("STARTING_BALANCE", "USDT=0", "above zero"),
        ("STARTING_BALANCE", "USDT=1e5", "above zero"),
        ("STARTING_BALANCE", "USDT=NaN", "above zero"),
        ("STARTING_BALANCE", "USDT=1,USDT=2", "USDT twice"),
        ("MAKER_FEE_RATE", "0.2", "from 0 to 0.1"),
        ("TAKER_FEE_RATE", "0.1%", "from 0 to 0.1"),
        ("TAKER_FEE_RATE", "-0.001", "from 0 to 0.1"),
        ("TAKER_FEE_RATE", "0.0000000001", "8 decimals"),
        ("PUBLIC", "maybe", "1 or 0"),
        ("LOG_LEVEL", "loud", "debug, info"),
        ("LOG_FORMAT", "xml", "console, json"),
        ("ALLOWED_HOSTS", "https://example.com", "host names"),
        ("MARKET_REST_URL", "ftp://x", "http://"),
        ("MARKET_REST_URL", "http://x/api/v3", "without a path"),
        ("MARKET_WS_URL", "http://x", "ws://"),
        ("DATABASE_URL", "mysql://x/y", "sqlite:///PATH"),
        ("DATABASE_URL", "sqlite://", "sqlite:///PATH"),
        ("DATABASE_URL", "sqlite:///:memory:", "sqlite:///PATH"),
        ("DATABASE_URL", "sqlite://data/x.db", "three slashes"),
        ("DATABASE_URL", "postgresql://u:p@h:port/x", "postgresql://"),
    ),
)
def test_a_wrong_value_is_one_line_with_the_variable_and_its_rule(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, rule: str
) -> None:
    text = refusal(monkeypatch, **{name: value})
    assert name in text
    assert rule in text


def test_a_data_directory_that_cannot_be_made_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "DATA_DIR" in refusal(monkeypatch, DATA_DIR=str(tmp_path / "file" / "data"))


def test_both_venue_addresses_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "MARKET_WS_URL" in refusal(monkeypatch, MARKET_REST_URL="http://127.0.0.1:9000")
    config = settings(monkeypatch, MARKET_REST_URL="http://127.0.0.1:9000/", MARKET_WS_URL="ws://127.0.0.1:9000")
    assert (config.market_rest_url, config.market_ws_url) == ("http://127.0.0.1:9000", "ws://127.0.0.1:9000")


# --- who can reach us ---


def test_a_platforms_port_opens_every_interface_only_when_public(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch, PORT="10000").host == "127.0.0.1"
    config = settings(monkeypatch, PORT="10000", PUBLIC="1", ACCESS_PASSWORD="open sesame")
    assert (config.host, config.port) == ("0.0.0.0", 10000)
    assert settings(monkeypatch, HOST="127.0.0.1").host == "127.0.0.1"


@pytest.mark.parametrize("host", ("0.0.0.0", "::", "192.168.1.5", "paper.example"))
def test_a_bind_wider_than_loopback_needs_public_and_a_password(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    assert "PUBLIC=1" in refusal(monkeypatch, HOST=host)
    assert "ACCESS_PASSWORD" in refusal(monkeypatch, HOST=host, PUBLIC="1")
    assert settings(monkeypatch, HOST=host, PUBLIC="1", ACCESS_PASSWORD="x").host == host


@pytest.mark.parametrize("host", ("localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]"))
def test_loopback_needs_neither(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    assert settings(monkeypatch, HOST=host).host == host.strip("[]")


def test_hosts_are_loopback_the_platforms_and_the_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(
        monkeypatch, ALLOWED_HOSTS="Paper.Example, 10.0.0.2", RENDER_EXTERNAL_HOSTNAME="paper.onrender.com"
    )
    assert set(config.allowed_hosts) == {
        *("localhost", "127.0.0.1", "[::1]"),
        *("paper.example", "10.0.0.2", "paper.onrender.com"),
    }
    assert "0.0.0.0" not in settings(monkeypatch, HOST="0.0.0.0", PUBLIC="1", ACCESS_PASSWORD="x").allowed_hosts


# --- secrets ---


def test_secrets_are_in_no_repr_and_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(monkeypatch, ACCESS_PASSWORD="hunter2", DATABASE_URL="postgresql://u:s3cret@h/db")
    assert "hunter2" not in repr(config)
    assert "s3cret" not in repr(config)
    assert set(config.secrets) == {"hunter2", "s3cret"}
    assert "s3cret" not in refusal(monkeypatch, DATABASE_URL="mysql://u:s3cret@h/db")


def test_a_settings_file_fills_in_and_stays_out_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("PORT=9001\nMARKET=simulated\nACCESS_PASSWORD=from-file\n")
    config = settings(monkeypatch, PORT="9002")
    assert (config.port, config.market, config.access_password) == (9002, "simulated", "from-file")
    assert "ACCESS_PASSWORD" not in os.environ
    assert "MARKET" not in os.environ


def test_a_wrong_setting_ends_the_program_with_one_line_and_status_2(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    ended = subprocess.run(
        [sys.executable, "-c", "from trading_engine.config import Config; Config.or_exit()"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(root), "PORT": "eighty"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        "paper-exchange cannot start: PORT='eighty' is wrong: "
        "it must be a port number from 0 to 65535 (0 takes a free one)\n"
    )
