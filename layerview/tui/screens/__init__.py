"""The screens of the terminal UI; each owns the work that fills it."""
