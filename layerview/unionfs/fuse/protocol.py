"""The kernel's FUSE protocol as far as it is spoken here (linux/fuse.h, 7.31 to 7.45)."""

from __future__ import annotations

import os
from struct import Struct

ROOT_ID = 1
"""The node that is never looked up."""
OLDEST = (7, 31)
"""Linux 5.4, the first kernel that makes FUSE mounts by fsopen(2)."""
MAJOR, SPOKEN = 7, 40
"""The version that is answered to kernels that know more."""

LOOKUP = 1
FORGET = 2
GETATTR = 3
SETATTR = 4
READLINK = 5
SYMLINK = 6
MKNOD = 8
MKDIR = 9
UNLINK = 10
RMDIR = 11
RENAME = 12
LINK = 13
OPEN = 14
READ = 15
WRITE = 16
STATFS = 17
RELEASE = 18
FSYNC = 20
SETXATTR = 21
GETXATTR = 22
LISTXATTR = 23
REMOVEXATTR = 24
INIT = 26
OPENDIR = 27
READDIR = 28
RELEASEDIR = 29
FSYNCDIR = 30
CREATE = 35
INTERRUPT = 36
DESTROY = 38
IOCTL = 39
BATCH_FORGET = 42
FALLOCATE = 43
READDIRPLUS = 44
RENAME2 = 45
LSEEK = 46
COPY_FILE_RANGE = 47

CAN_ASYNC_READ = 1 << 0
CAN_ATOMIC_O_TRUNC = 1 << 3
CAN_BIG_WRITES = 1 << 5
CAN_DONT_MASK = 1 << 6
CAN_READDIRPLUS = 1 << 13
CAN_PARALLEL_DIROPS = 1 << 18
CAN_POSIX_ACL = 1 << 20
CAN_MAX_PAGES = 1 << 22
CAN_CACHE_SYMLINKS = 1 << 23
CAN_HANDLE_KILLPRIV_V2 = 1 << 28
CAN_INIT_EXT = 1 << 30
CAN_PASSTHROUGH = 1 << 37

OPEN_KEEP_CACHE = 1 << 1
OPEN_CACHE_DIR = 1 << 3
OPEN_NOFLUSH = 1 << 5
OPEN_PASSTHROUGH = 1 << 7

SET_MODE = 1 << 0
SET_UID = 1 << 1
SET_GID = 1 << 2
SET_SIZE = 1 << 3
SET_ATIME = 1 << 4
SET_MTIME = 1 << 5
SET_ATIME_NOW = 1 << 7
SET_MTIME_NOW = 1 << 8
KILL_SUIDGID_SETATTR = 1 << 11
KILL_SUIDGID_WRITE = 1 << 2
KILL_SUIDGID_OPEN = 1 << 0
FSYNC_DATA_ONLY = 1

NOTIFY_INVAL_INODE = 2

BACKING_OPEN = 0x4010E501
BACKING_CLOSE = 0x4004E502

IN = Struct("=IIQQIIIHH")
"""A request's head: length, opcode, unique, node, uid, gid, pid, lengths of extensions."""
IN_SIZE = IN.size
OUT = Struct("=IiQ")
"""An answer's head: length, error (0 or less), unique."""
OUT_SIZE = OUT.size

INIT_IN = Struct("=IIIII")
INIT_OUT = Struct("=IIIIHHIIHHIIHH5I")
ENTRY_OUT = Struct("=QQQQII QQQqqqIIIIIIIIII")
"""node, generation, seconds that entry and attributes are valid, their nanoseconds; attributes."""
ATTR_OUT = Struct("=QII QQQqqqIIIIIIIIII")
SETATTR_IN = Struct("=IIQQQqqqIIIIIIII")
"""valid, padding, handle, size, lock owner, a/m/ctime, their nanoseconds, mode, unused, ids, …."""
OPEN_IN = Struct("=II")
OPEN_OUT = Struct("=QIi")
"""handle, flags, number of the backing file."""
CREATE_IN = Struct("=IIII")
"""flags, mode, umask, more flags."""
MKNOD_IN = Struct("=IIII")
MKDIR_IN = Struct("=II")
RENAME_IN = Struct("=Q")
RENAME2_IN = Struct("=QII")
LINK_IN = Struct("=Q")
READ_IN = Struct("=QQIIQII")
WRITE_IN = Struct("=QQIIQII")
WRITE_OUT = Struct("=II")
RELEASE_IN = Struct("=QIIQ")
FSYNC_IN = Struct("=QII")
SETXATTR_IN = Struct("=II")
GETXATTR_IN = Struct("=II")
GETXATTR_OUT = Struct("=II")
STATFS_OUT = Struct("=QQQQQIIII24x")
FORGET_IN = Struct("=Q")
BATCH_FORGET_IN = Struct("=II")
FORGET_ONE = Struct("=QQ")
FALLOCATE_IN = Struct("=QQQII")
LSEEK_IN = Struct("=QQII")
LSEEK_OUT = Struct("=Q")
COPY_FILE_RANGE_IN = Struct("=QQQQQQQ")
DIRENT = Struct("=QQII")
"""inode, place of the next, length of the name, kind."""
INVAL_INODE_OUT = Struct("=Qqq")
BACKING_MAP = Struct("=iIQ")

HEAD_AND_ENTRY = Struct("=IiQ QQQQII QQQqqqIIIIIIIIII")
HEAD_AND_ATTR = Struct("=IiQ QII QQQqqqIIIIIIIIII")
ENTRY_AND_DIRENT = Struct("=QQQQII QQQqqqIIIIIIIIII QQII")


def encode_device(device: int) -> int:
    """Turn a device's number as stat(2) has it into the protocol's 32 bits."""
    minor = os.minor(device)
    return (minor & 0xFF) | (os.major(device) << 8) | ((minor & ~0xFF) << 12)


def decode_device(number: int) -> int:
    """Turn the protocol's 32 bits into a device's number as mknod(2) wants it."""
    return os.makedev((number & 0xFFF00) >> 8, (number & 0xFF) | ((number >> 12) & 0xFFF00))
