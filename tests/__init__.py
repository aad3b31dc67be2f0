"""The tests of layerview; the folders mirror the package's."""
