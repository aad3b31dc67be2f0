"""A fuzzer that knows the formats: `python -m tests.fuzz --seconds 60`."""
