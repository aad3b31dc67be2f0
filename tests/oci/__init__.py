"""The formats of images."""
