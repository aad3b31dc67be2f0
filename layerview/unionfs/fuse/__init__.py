"""The union's FUSE face: the kernel's own protocol on /dev/fuse, without a library."""
