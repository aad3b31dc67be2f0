"""Storage drivers: one module each, what works here, and the user namespace they need."""
