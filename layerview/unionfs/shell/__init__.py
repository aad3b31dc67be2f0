"""A small shell over a union: no program runs, and what it does is done by the union itself."""
