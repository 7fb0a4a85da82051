"""Hostile programs: none gets out, each ends in its time, and nothing is left behind."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hostile_programs import FILES, HOSTILE, NETWORK, PROCESSES, PROVEN

from tgp_multimodal.evaluation.sandbox import Sandbox, Trial

if sys.platform != "linux":
    pytest.skip("the sandbox is made of parts of Linux", allow_module_level=True)

WALL = 4.0  # of the limits of the fixture


class Outside:
    """What programs try to reach: files, listeners, and how often somebody has come."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.visits = folder, 0
        self.secret = folder / "secret"
        self.secret.write_text("secret", encoding="utf-8")
        (folder / "log").write_text("", encoding="utf-8")
        name = f"tgp-{os.getpid()}"
        self.listeners = [socket.create_server(("127.0.0.1", 0))]
        for address in (str(folder / "socket"), "\0" + name):
            self.listeners.append(socket.socket(socket.AF_UNIX))
            self.listeners[-1].bind(address)
            self.listeners[-1].listen()
        self.at: dict[str, Any] = {
            "secret": str(self.secret),
            "folder": str(folder),
            "port": self.listeners[0].getsockname()[1],
            "socket": str(folder / "socket"),
            "abstract": name,
            "pid": os.getpid(),
        }
        for listener in self.listeners:
            threading.Thread(target=self._count, args=[listener], daemon=True).start()

    def _count(self, listener: socket.socket) -> None:
        while True:
            try:
                listener.accept()[0].close()
            except OSError:
                return
            self.visits += 1

    def state(self) -> dict[str, Any]:
        files = {p.name: (p.lstat().st_mode, p.lstat().st_size) for p in self.folder.iterdir()}
        return {"files": files, "secret": self.secret.read_text("utf-8"), "visits": self.visits}


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    folder = tmp_path_factory.mktemp("out")
    folder.chmod(0o777)  # nothing but the sandbox stands in the way
    found = Outside(folder)
    found.secret.chmod(0o666)
    yield found
    for listener in found.listeners:
        listener.close()


def attacked(sandbox: Sandbox, program: str, outside: Outside) -> tuple[bool, str]:
    tests = f"assert attack({outside.at!r})"
    (verdict,) = sandbox.judge([Trial(program, tests, "attack")])
    return verdict


def descendants(process: int) -> list[int]:
    """Processes below one, from /proc."""
    below: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        below.setdefault(parent, []).append(int(path.parent.name))
    found, open_ = [], [process]
    while open_:
        children = below.get(open_.pop(), [])
        found += children
        open_ += children
    return found


def named_as_theirs() -> set[str]:
    """What lies in /tmp under a name that a hostile program gives a file."""
    written = {"0", "1", "hard", "kept", "large", "link", "x", "disk"}
    return written & {path.name for path in Path("/tmp").iterdir()}


T = TypeVar("T")


def settled(look: Callable[[], T], wanted: T) -> T:
    """What is there in the end: a guard that has spoken its last word is still to go."""
    deadline = time.monotonic() + 10
    while look() != wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    return look()


def descriptors(process: int) -> int:
    return len([*Path(f"/proc/{process}/fd").iterdir()])


def test_there_are_at_least_forty():
    assert len(HOSTILE) >= 40
    assert set(HOSTILE) >= PROVEN


@pytest.mark.parametrize("name", HOSTILE)
def test_no_program_gets_out(name: str, sandbox: Sandbox, outside: Outside):
    before, start = outside.state(), time.monotonic()
    verdict = attacked(sandbox, HOSTILE[name], outside)
    assert not verdict.passed
    assert verdict.reason
    # The guard kills after `WALL`; machines that are busy take a while to notice.
    assert time.monotonic() - start < WALL + 10
    assert outside.state() == before


@pytest.mark.parametrize("name", sorted(PROVEN))
def test_the_same_program_gets_out_where_there_is_no_sandbox(
    name: str, unsafe: Sandbox, outside: Outside
):
    assert attacked(unsafe, HOSTILE[name], outside).passed


def test_nothing_is_left_behind(sandbox: Sandbox, outside: Outside):
    programs = [*FILES.values(), *PROCESSES.values(), *NETWORK.values()]
    process = sandbox._server.pid
    attacked(sandbox, "def attack(at): return True", outside)
    assert settled(lambda: len(descendants(process)), 1) == 1
    idle, files = descendants(process), named_as_theirs()
    tests = f"assert attack({outside.at!r})"
    verdicts = sandbox.judge([Trial(program, tests, "attack") for program in programs])
    assert not any(v.passed for v in verdicts)
    # No process is left, so no namespace is: nothing else holds one (see the next tests).
    assert settled(lambda: descendants(process), idle) == idle
    assert named_as_theirs() == files


def test_a_program_finds_nothing_of_the_one_before(sandbox: Sandbox):
    keep = Trial("def f(): return open('kept', 'w').write('x')", "assert f() == 1", "f")
    look = Trial("import os\ndef f(): return os.listdir('.')", "assert f() == []", "f")
    verdicts = sandbox.judge([keep, look, keep, look])
    assert [v.reason for v in verdicts] == [""] * 4


def test_what_is_open_is_what_a_program_needs(sandbox: Sandbox):
    """Three descriptors on nothing, its questions, its answers, and a sign of life."""
    program = """
import os, stat
def f():
    found = []
    for file in range(1024):
        try: found.append(stat.S_IFMT(os.fstat(file).st_mode))
        except OSError: pass
    return found
"""
    kinds = [0o020000] * 3 + [0o010000] * 3
    (verdict,) = sandbox.judge([Trial(program, f"assert f() == {kinds}", "f")])
    assert verdict.reason == ""


@pytest.mark.parametrize("count", [100, pytest.param(500, marks=pytest.mark.slow)])
def test_many_programs_leave_the_server_as_it_was(count: int, sandbox: Sandbox):
    trial = Trial("def f(x): return x", "assert f(1) == 1", "f")
    sandbox.judge([trial] * 20)
    process = sandbox._server.pid
    assert settled(lambda: len(descendants(process)), 1) == 1
    (server,) = descendants(process)

    def held() -> tuple[int, int, int]:
        return descriptors(server), descriptors(os.getpid()), len(descendants(process))

    before, start = held(), time.perf_counter()
    verdicts = sandbox.judge([trial] * count)
    seconds = time.perf_counter() - start
    assert all(v.passed for v in verdicts)
    assert settled(held, before) == before
    print(f"{count / seconds:.0f} programs/s")


def test_a_runner_that_is_killed_takes_everything_with_it(tmp_path: Path, sandbox: Sandbox):
    """The server reads the end of its link; its namespace ends with it, hanging programs too."""
    code = """
import os, threading, time
from tgp_multimodal.evaluation.sandbox import Limits, Sandbox, Trial
sandbox = Sandbox(Limits(100, 512), workers=1)
print(sandbox._server.pid, flush=True)
hang = Trial('import time\\ndef f(): time.sleep(1000)', 'f()', 'f')
sandbox.judge([hang])
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        server = int(run.stdout.readline())
        deadline = time.monotonic() + 20
        while len(descendants(server)) < 5 and time.monotonic() < deadline:
            time.sleep(0.05)
        family = [server, *descendants(server)]
        assert len(family) >= 5
        run.kill()
    while any(Path(f"/proc/{p}").exists() for p in family) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [p for p in family if Path(f"/proc/{p}").exists()]
