"""The benchmark: `python -m tests.benchmarks IMAGE.tar ...`; see `__main__`."""
