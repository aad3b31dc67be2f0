"""Containers: made from an image's layers, started, looked at and removed, with no daemon."""
