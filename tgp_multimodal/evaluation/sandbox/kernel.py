"""System calls that Python does not offer, by ctypes; a failure names the layer that is missing."""

import ctypes
import os
import platform

_libc = ctypes.CDLL(None, use_errno=True)
# Calls that glibc may not know, by their numbers on x86-64 and on arm64.
_NUMBERS = {
    "capset": (126, 91),
    "pivot_root": (155, 41),
    "mount_setattr": (442, 442),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}
MACHINES = ("x86_64", "aarch64")

NEW_NAMESPACE = {
    "user": 0x10000000,
    "mount": 0x00020000,
    "pid": 0x20000000,
    "net": 0x40000000,
    "ipc": 0x08000000,
    "uts": 0x04000000,
}
MOUNT = {"nosuid": 2, "nodev": 4, "noexec": 8, "bind": 4096, "rec": 16384, "private": 1 << 18}
_DETACH = 2
_READ_ONLY, _NO_SETUID, _NO_DEVICES = 1, 2, 4  # attributes of mount_setattr
_AT_RECURSIVE = 0x8000
_AT_FDCWD = -100
_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _SET_DUMPABLE = 38, 22, 4
_FILTER = 2


class MissingLayerError(OSError):
    """The kernel refuses what a layer of the sandbox needs.

    Attributes:
        layer: its name.
        reason: what the kernel says.
    """

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(f"{layer}: {reason}")
        self.layer, self.reason = layer, reason


def machine() -> int:
    """0 on x86-64, 1 on arm64: the column of a table of numbers.

    Raises:
        MissingLayerError: the processor is another, or the interpreter a 32-bit one.
    """
    name = platform.machine()
    if name not in MACHINES or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise MissingLayerError("seccomp", f"no table of system calls for {name}")
    return MACHINES.index(name)


def call(layer: str, name: str, *arguments: int | bytes | ctypes.Structure | None) -> int:
    """A function of the C library, or a system call of `_NUMBERS`; its result.

    Raises:
        MissingLayerError: it fails.
    """
    passed = [_passed(a) for a in arguments]
    if name in _NUMBERS:
        passed.insert(0, ctypes.c_long(_NUMBERS[name][machine()]))
        name = "syscall"
    result = int(getattr(_libc, name)(*passed))
    if result < 0:
        raise MissingLayerError(layer, os.strerror(ctypes.get_errno()))
    return result


def _passed(argument: int | bytes | ctypes.Structure | None) -> object:
    if isinstance(argument, int):
        return ctypes.c_long(argument)
    if isinstance(argument, ctypes.Structure):
        return ctypes.byref(argument)
    return ctypes.c_char_p(argument)


def unshare(*names: str) -> None:
    """Leaves namespaces for new ones; that of processes is for children born afterwards.

    Raises:
        MissingLayerError: one of them cannot be had.
    """
    layer = f"{' and '.join(names)} namespace" if len(names) < 3 else "namespaces"
    call(layer, "unshare", sum(NEW_NAMESPACE[name] for name in names))


def mount(source: str, target: str, kind: str | None, *flags: str, options: str = "") -> None:
    """Puts a file system, or with the flag "bind" a folder, at a place.

    Raises:
        MissingLayerError: it fails.
    """
    made = (source.encode(), target.encode(), kind.encode() if kind else None)
    call("mount namespace", "mount", *made, sum(MOUNT[f] for f in flags), options.encode())


def make_read_only(target: str) -> None:
    """A mount and what is mounted below it: nothing may be written, no file is a device or setuid.

    Raises:
        MissingLayerError: it fails.
    """

    class Attributes(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]

    wanted = Attributes(_READ_ONLY | _NO_SETUID | _NO_DEVICES, 0, 0, 0)
    size = ctypes.sizeof(wanted)
    arguments = (_AT_FDCWD, target.encode(), _AT_RECURSIVE, wanted, size)
    call("mount namespace", "mount_setattr", *arguments)


def make_root(folder: str) -> None:
    """The folder, a mount, becomes the root; nothing else of the old one can be reached by a path.

    Raises:
        MissingLayerError: it fails.
    """
    os.chdir(folder)
    call("mount namespace", "pivot_root", b".", b".")
    call("mount namespace", "umount2", b".", _DETACH)
    os.chdir("/")


def drop_capabilities() -> None:
    """No privilege is left, in this user namespace either; only exec could give one back."""

    class Head(ctypes.Structure):
        _fields_ = [("version", ctypes.c_uint32), ("process", ctypes.c_int)]

    class Sets(ctypes.Structure):
        _fields_ = [("sets", ctypes.c_uint32 * 6)]

    call("capabilities", "capset", Head(0x20080522, 0), Sets())


def forbid_new_privileges() -> None:
    """No setuid file and no file capability gives anything from here on."""
    call("no_new_privs", "prctl", _SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def make_dumpable() -> None:
    """This process may write its own /proc/self/uid_map again, which setuid has taken from it."""
    call("user namespace", "prctl", _SET_DUMPABLE, 1, 0, 0, 0)


def load_filter(program: ctypes.Structure) -> None:
    """Every further system call of this process goes through a seccomp filter.

    Raises:
        MissingLayerError: the kernel has no seccomp filters.
    """
    call("seccomp", "prctl", _SET_SECCOMP, _FILTER, program, 0, 0)
