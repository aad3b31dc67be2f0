"""The formats of images: digests, references, manifests, configs and their history. No I/O."""
