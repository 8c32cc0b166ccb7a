"""Tests of the exchange: money, orders, fills, ledger and the engine."""
