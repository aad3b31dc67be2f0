"""Where images are read from: one module per transport."""
