"""Benchmarks: echo servers beside one another, in one interleaved run on pinned cores.

``python -m tests.bench`` compares servers, ``python -m tests.bench.import_cost`` weighs
``import reactor``. Both run from the top of a checkout and install nothing.
"""
