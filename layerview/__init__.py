"""See every layer, watch every copy-up: a terminal explorer for container images."""

__version__ = "0.1.0"
