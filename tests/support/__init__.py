"""Builders of small, exact, hand-made images for the tests."""
