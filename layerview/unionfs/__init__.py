"""The bundled union file system: branches on AUFS's on-disk format, and its FUSE face."""
