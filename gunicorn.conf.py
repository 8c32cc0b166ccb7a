"""gunicorn reads its settings from here; they are made in trading_engine.serve."""

from trading_engine.config import Config
from trading_engine.serve import settings

globals().update(settings(Config.or_exit()))
