"""One layer's content: the tar scan, its index, whiteouts, compression and reading by offset."""
