"""The exchange itself: symbols, books, orders, fills, ledger and the engine that keeps them in order.

Pure: no socket, file, thread, wall clock, randomness or environment. Whatever lives here takes values and gives values,
and is handed its clock and its journal. It imports itself and the standard library only.
"""
