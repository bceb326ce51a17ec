"""Landlock: after `confine`, this process can open nothing for writing, remove and create nothing.

The wall is the Linux kernel's (5.13 and later) and holds for root too, for every thread that is
started later, and for good. Of files it can then read only those that are named, and below folders
that are named. It knows nothing of SQL: whatever a statement says, the kernel answers EACCES.

    https://docs.kernel.org/userspace-api/landlock.html
"""

import ctypes
import os
import struct
from collections.abc import Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
VERSION_ONLY = 1
PATH_BENEATH = 1
NO_NEW_PRIVS = 38

READ_FILE, READ_DIR = 1 << 2, 1 << 3

# By the version of the kernel's interface: what can be forbidden since then.
FILES_SINCE = {
    1: (1 << 13) - 1,  # execute, write, read, list, remove, make of each kind
    2: 1 << 13,  # link or rename into another folder
    3: 1 << 14,  # truncate: before, a file could be cut by its name, though not opened for writing
    5: 1 << 15,  # ioctl of devices
}
NETWORK_SINCE = {4: 0b11}  # bind and connect of TCP
SCOPES_SINCE = {6: 0b11}  # abstract sockets of, and signals to, processes outside


def version() -> int:
    """The version of Landlock in this kernel; 0 where there is none, or it is switched off."""
    try:
        return max(0, _syscall(CREATE_RULESET, None, 0, VERSION_ONLY))
    except (OSError, AttributeError):  # macOS has no `syscall` that knows the number
        return 0


def confine(readable: Iterable[str]) -> bool:
    """Forbids all but reading `readable`, files or folders; False where there is no Landlock.

    Call it before other threads are started: it holds for this one and those that it starts.
    Raises OSError where there is Landlock and it refuses: the caller must not go on then.
    """
    known = version()
    if not known:
        return False
    files, network, scopes = (
        sum(rights for since, rights in table.items() if since <= known)
        for table in (FILES_SINCE, NETWORK_SINCE, SCOPES_SINCE)
    )
    attributes = struct.pack("=QQQ", files, network, scopes)[
        : 8 if known < 4 else 16 if known < 6 else 24
    ]
    rules = _syscall(CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path in readable:
            _allow_reading(rules, path)
        if _libc().prctl(NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
        _syscall(RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
    return True


def _allow_reading(rules: int, path: str) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rights = READ_FILE | READ_DIR if os.path.isdir(path) else READ_FILE
        _syscall(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", rights, opened), 0)
    finally:
        os.close(opened)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *arguments: object) -> int:
    given = [
        a if a is None or isinstance(a, bytes) else ctypes.c_long(int(str(a))) for a in arguments
    ]
    answer = int(_libc().syscall(ctypes.c_long(number), *given))
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer
