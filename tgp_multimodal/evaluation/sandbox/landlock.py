"""Landlock: what of the file system a process may open, whatever its paths and mounts are.

Numbers and structures are those of <linux/landlock.h>; the guide is the kernel's
Documentation/userspace-api/landlock.rst.
"""

import ctypes
import os

from tgp_multimodal.evaluation.sandbox.kernel import call

_LAYER = "Landlock"
_VERSION = 1  # flag of landlock_create_ruleset that asks for the ABI
_PATH_BENEATH = 1
# Rights over files, and the ABI that knows them all: 13 from the first, then refer, truncate,
# ioctl on devices.
_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
_WRITE_FILE, _READ_FILE, _READ_FOLDER = 1 << 1, 1 << 2, 1 << 3
_REMOVE_FOLDER, _REMOVE_FILE, _MAKE_FOLDER, _MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
# Executing is in neither, nor are links, sockets, pipes and devices.
READ = _READ_FILE | _READ_FOLDER
WRITE = (
    READ
    | _WRITE_FILE
    | _REMOVE_FOLDER
    | _REMOVE_FILE
    | _MAKE_FOLDER
    | _MAKE_FILE
    | _REFER
    | _TRUNCATE
)
_TCP = 0b11  # to bind and to connect, from ABI 4
_SCOPES = 0b11  # abstract sockets and signals beyond this process's own, from ABI 6


class _Ruleset(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("files", "network", "scopes")]


class _Rule(ctypes.Structure):
    _fields_ = [("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def version() -> int:
    """The ABI of the running kernel.

    Raises:
        MissingLayerError: it has none, or Landlock is not switched on.
    """
    return call(_LAYER, "landlock_create_ruleset", None, 0, _VERSION)


def restrict(readable: list[str], writable: list[str]) -> None:
    """This process may read below some folders, and write below others; nothing else of files.

    Needs no_new_privs. What the ABI of the kernel does not know stays to the other layers.

    Raises:
        MissingLayerError: Landlock refuses.
    """
    abi = version()
    handled = (1 << max(count for since, count in _RIGHTS.items() if since <= abi)) - 1
    wanted = _Ruleset(handled, _TCP if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    rules = call(_LAYER, "landlock_create_ruleset", wanted, size, 0)
    for folders, allowed in ((readable, READ), (writable, WRITE)):
        for folder in folders:
            place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
            rule = _Rule(allowed & handled, place)
            call(_LAYER, "landlock_add_rule", rules, _PATH_BENEATH, rule, 0)
            os.close(place)
    call(_LAYER, "landlock_restrict_self", rules, 0)
    os.close(rules)
