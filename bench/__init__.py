"""Peers measured beside us, in one run. `python -m bench [names]`; see rows.py for the names and docs/benchmarks.md for the figures."""
