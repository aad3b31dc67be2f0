"""The local storage area, in the layout of a Docker data root: images, layers, tags, checks."""
