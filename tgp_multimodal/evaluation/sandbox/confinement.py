"""The layers as they close: root, namespaces, limits, privileges, Landlock, seccomp.

The server goes behind `enter_root` once. Each program then gets namespaces, limits and filters of
its own, which end with it.
"""

import os
import resource
import sys
import sysconfig
from pathlib import Path

from tgp_multimodal.evaluation.sandbox import kernel, landlock, seccomp
from tgp_multimodal.evaluation.sandbox.kernel import MissingLayerError
from tgp_multimodal.evaluation.sandbox.limits import Limits

OWN = "/tmp"  # the private folder of a program, in a root of its own
_LINKS = ("/lib", "/lib64")  # by which the loader finds libraries, on most systems
_NOBODY = 65_534
_INSIDE = 1000  # number of the user inside
_NAMES = ("user", "mount", "pid", "net", "ipc", "uts")
_FILES, _THREADS, _OWN_BYTES = 64, 32, 16 * 2**20


def layers() -> list[str]:
    """Names of all layers, as results record them.

    Raises:
        MissingLayerError: Landlock or a table of system calls is missing.
    """
    seccomp.program()
    return [
        "private read-only root",
        *(f"{name} namespace" for name in _NAMES),
        "limits",
        "no_new_privs",
        "no capabilities",
        f"Landlock ABI {landlock.version()}",
        f"seccomp ({kernel.MACHINES[kernel.machine()]})",
    ]


def unshare_mounts_and_pids() -> int:
    """New mounts for this process, and new process numbers for its children.

    Called by root, it needs nothing else; by anyone else, it makes a user namespace for the right.

    Returns:
        A descriptor of /proc, by which `enter_namespaces` writes user maps. It must be closed
        before a program runs.

    Raises:
        MissingLayerError: the kernel refuses.
    """
    process = os.open("/proc", os.O_PATH)
    if os.geteuid() == 0:
        kernel.unshare("mount", "pid")
        return process
    user, group = os.geteuid(), os.getegid()
    kernel.unshare("user", "mount", "pid")
    _map(process, user, group, user, group)
    return process


def enter_root() -> list[str]:
    """This process sees the interpreter's library, read-only, and an empty folder; no other file.

    Root becomes nobody on the way, and whatever privileges there are end here.

    Returns:
        The folders that can be seen.

    Raises:
        MissingLayerError: the kernel refuses one of the steps.
    """
    folders = _libraries()
    places = [os.open(folder, os.O_PATH) for folder in folders]
    links = [(link, link.readlink()) for link in map(Path, _LINKS) if link.is_symlink()]
    kernel.mount("none", "/", None, "rec", "private")
    kernel.mount("tmpfs", OWN, "tmpfs", "nosuid", "nodev", options="size=1m,mode=755")
    for folder, place in zip(folders, places, strict=True):
        target = OWN + folder
        Path(target).mkdir(parents=True, exist_ok=True)
        kernel.mount(f"/proc/self/fd/{place}", target, None, "bind", "rec")
        os.close(place)
    _hide_packages()
    for link, aim in links:
        if not Path(f"{OWN}{link}").exists():
            Path(f"{OWN}{link}").symlink_to(aim)
    Path(OWN + OWN).mkdir()
    kernel.make_read_only(OWN)
    kernel.make_root(OWN)
    if os.geteuid() == 0:
        _become_nobody()
    kernel.drop_capabilities()
    kernel.make_dumpable()
    return folders


def _hide_packages() -> None:
    """An empty folder over each of installed packages: they lie in the standard library's."""
    for name in ("stdlib", "platstdlib"):
        own = Path(os.path.realpath(sysconfig.get_path(name)))
        for beside in (own / "site-packages", own / "dist-packages", own.parent / "python3"):
            if (place := Path(f"{OWN}{beside}")).is_dir():
                kernel.mount("tmpfs", str(place), "tmpfs", "nosuid", "nodev", options="size=4k")


def _libraries() -> list[str]:
    """Folders of the standard library and of the shared libraries that are loaded.

    None lies in another, and each is real: no link leads to it.
    """
    found = {os.path.realpath(sysconfig.get_path(n)) for n in ("stdlib", "platstdlib")}
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    mapped = {line.split(maxsplit=5)[-1] for line in lines if ".so" in line}
    found |= {os.path.realpath(Path(name).parent) for name in mapped if name.startswith("/")}
    return sorted(f for f in found if not any(str(p) in found for p in Path(f).parents))


def _become_nobody() -> None:
    """Root outside is root in no namespace: limits on threads would not hold for it."""
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except OSError as error:
        # A root with no other user to become is that of a user namespace: no root outside.
        if error.errno not in (1, 22):
            raise MissingLayerError("user namespace", str(error)) from None


def _map(process: int, user: int, group: int, user_inside: int, group_inside: int) -> None:
    lines = {
        "setgroups": "deny",
        "uid_map": f"{user_inside} {user} 1",
        "gid_map": f"{group_inside} {group} 1",
    }
    for name, line in lines.items():
        try:
            file = os.open(f"self/{name}", os.O_WRONLY, dir_fd=process)
            os.write(file, line.encode())
            os.close(file)
        except OSError as error:
            raise MissingLayerError("user namespace", f"{name}: {error.strerror}") from None


def enter_namespaces(process: int) -> None:
    """New namespaces, and an empty folder of its own; the next child is the first process inside.

    Raises:
        MissingLayerError: the kernel refuses.
    """
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(*_NAMES)
    _map(process, user, group, _INSIDE, _INSIDE)
    os.close(process)
    options = f"size={_OWN_BYTES},nr_inodes=1024,mode=700"
    kernel.mount("tmpfs", OWN, "tmpfs", "nosuid", "nodev", "noexec", options=options)


def confine(limits: Limits, folders: list[str]) -> None:
    """The last steps, inside: limits, no privileges, Landlock, seccomp.

    Raises:
        MissingLayerError: the kernel refuses.
    """
    os.chdir(OWN)
    limit(limits)
    kernel.drop_capabilities()
    kernel.forbid_new_privileges()
    landlock.restrict(folders, [OWN])
    kernel.load_filter(seccomp.program())


def limit(limits: Limits) -> None:
    """Limits of this process alone, which it cannot raise."""
    wanted = {
        "CPU": limits.seconds,
        "AS": limits.megabytes * 2**20,
        "FSIZE": _OWN_BYTES,
        "NOFILE": _FILES,
        "CORE": 0,
        "STACK": 8 * 2**20,
        "MEMLOCK": 0,
    }
    if sys.platform == "linux":
        wanted |= {"MSGQUEUE": 0, "NPROC": _THREADS}
    for name, most in wanted.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
