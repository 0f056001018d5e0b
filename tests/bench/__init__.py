"""Benchmarks: servers and clients beside one another, in interleaved runs on pinned cores.

``python -m tests.bench`` compares servers, ``python -m tests.bench.clients`` clients;
``python -m tests.bench.memory`` weighs idle connections, ``python -m tests.bench.import_cost``
weighs ``import reactor``. All run from the top of a checkout and install nothing.
"""
