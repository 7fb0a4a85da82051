"""Whether this kernel gives a plain process what every sandbox needs, asked without our own one.

Tests that run programs are skipped where the kernel refuses, and only there: were they skipped
where our sandbox refuses, a broken sandbox would leave the suite green.
"""

import functools
import platform
import subprocess
import sys

_PROBE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
user, group = os.geteuid(), os.getegid()

def must(layer, result):
    if result < 0:
        sys.exit(f"{layer}: {os.strerror(ctypes.get_errno())}")

# user, mount, process, network, IPC and host name namespaces
must("namespaces", libc.unshare(0x10000000 | 0x20000 | 0x20000000 | 0x40000000 | 0x8000000 | 0x4000000))
try:
    for name, line in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)
except OSError as error:
    sys.exit(f"maps of users: {error}")
must("mounts", libc.mount(b"none", b"/", None, ctypes.c_ulong(16384 | 1 << 18), None))
must("mounts", libc.mount(b"tmpfs", b"/tmp", b"tmpfs", ctypes.c_ulong(6), b"size=1m"))
place = libc.open(b"/tmp", 0)
attributes = (ctypes.c_uint64 * 4)(1)  # read-only
must("mount_setattr", libc.syscall(442, place, b"", 0x1000, attributes, ctypes.c_size_t(32)))
must("Landlock", libc.syscall(444, None, ctypes.c_size_t(0), 1))
must("no_new_privs", libc.prctl(38, 1, 0, 0, 0))
allow = ctypes.create_string_buffer(b"\\x06\\0\\0\\0\\0\\0\\xff\\x7f", 8)  # return ALLOW

class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

program = Program(1, ctypes.cast(allow, ctypes.c_void_p))
must("seccomp", libc.prctl(22, 2, ctypes.byref(program), 0, 0))
"""  # noqa: E501


@functools.cache
def refused() -> str:
    """What the kernel refuses, in a few words; "" if it gives all that a sandbox needs."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return f"no sandbox on {sys.platform}, {platform.machine()}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", _PROBE], capture_output=True, text=True, check=False
    )
    return done.stderr.strip() if done.returncode else ""
