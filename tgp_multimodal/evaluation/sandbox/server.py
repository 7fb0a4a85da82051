"""The fork server: a small interpreter, started once, from which each program is born.

It knows nothing that a program could look for: the environment is empty, and neither programs nor
tests pass through its memory. A job is two cells (see `cells`), each a process in namespaces of its
own with a guard outside them that ends it:

    server ─┬─ guard ── cell: the program       calls   <── cell: the tests
            └─ guard ── cell: the tests         answers ──> cell: the tests ── verdict ──> runner

The server is the first process of a process namespace: when it ends, all of them have.
"""

import gc
import importlib
import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, NoReturn

from tgp_multimodal.evaluation.sandbox import cells, confinement, plain
from tgp_multimodal.evaluation.sandbox.kernel import MissingLayerError
from tgp_multimodal.evaluation.sandbox.limits import ORDER, Limits

_GRACE = 2.0  # seconds that tests may go on after their program was killed
_SETTLE = 0.1  # seconds that a program has to be gone after its tests
# Read once, so that a program need not; and so that their shared libraries are loaded.
_PRELOADED = (
    *("bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools"),
    *("heapq", "itertools", "math", "operator", "random", "re", "statistics", "string", "typing"),
)


class _Place(NamedTuple):
    """What the server sees of the system.

    Attributes:
        folders: what can be seen of the file system.
        process: descriptor of /proc, see `confinement.unshare_mounts_and_pids`; None without the
            sandbox.
    """

    folders: list[str]
    process: int | None


class _Cell(NamedTuple):
    """What a forked process will run, and when it is killed.

    Attributes:
        work: what it does.
        files: descriptors that it keeps.
        seconds: after which it is killed.
        ends_with: it is killed when this descriptor's other side is closed; None for never.
        holds: what its guard keeps open until it has ended; None for nothing.
    """

    work: Callable[[], None]
    files: tuple[int, ...]
    seconds: float
    ends_with: int | None = None
    holds: int | None = None


def main(link: int, is_unsafe: bool) -> None:
    """Serves orders from a socket until its other side is closed.

    Args:
        link: descriptor of the socket. The first message on it is ("ready", layers) or ("missing",
            layer, reason).
        is_unsafe: without namespaces, Landlock and seccomp; limits alone.
    """
    for name in _PRELOADED:
        importlib.import_module(name)
    cells.clear_environment()
    place, layers = _Place([], None), ["limits"]
    try:
        if not is_unsafe:
            layers = confinement.layers()
            process = confinement.unshare_mounts_and_pids()
            if child := os.fork():  # the child is the first process of the new namespace
                os.close(link)
                os.waitpid(child, 0)
                return
            place = _Place(confinement.enter_root(), process)
    except MissingLayerError as error:
        plain.send(link, ("missing", error.layer, error.reason))
        return
    gc.collect()
    gc.freeze()  # what is never collected is never copied in a child for its counts
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guards are nobody's to wait for
    plain.send(link, ("ready", layers))
    _serve(socket.socket(fileno=link), place)


def _serve(connection: socket.socket, place: _Place) -> None:
    while True:
        order, files, _, _ = socket.recv_fds(connection, ORDER.size, 3)
        if len(order) < ORDER.size:
            return
        program, tests, verdict = files
        _start(place, Limits(*ORDER.unpack(order)), program, tests, verdict)
        for file in files:
            os.close(file)


def _start(place: _Place, limits: Limits, program: int, tests: int, verdict: int) -> None:
    """Starts a job; the pipe `verdict` ends when all of its processes have."""
    calls, answers, tests_done = os.pipe(), os.pipe(), os.pipe()

    def answering() -> None:
        cells.run_program(program, calls[0], answers[1])

    def asking() -> None:
        plain.send(verdict, ("tests", cells.run_tests(tests, calls[1], answers[0])))

    program_files = (program, calls[0], answers[1])
    tests_files = (tests, calls[1], answers[0], verdict)
    program_cell = _Cell(answering, program_files, limits.wall, ends_with=tests_done[0])
    tests_cell = _Cell(asking, tests_files, limits.wall + _GRACE, holds=tests_done[1])
    for cell in (program_cell, tests_cell):
        _guard(cell, place, limits, verdict)
    for file in (*calls, *answers, *tests_done):
        os.close(file)


def _guard(cell: _Cell, place: _Place, limits: Limits, verdict: int) -> None:
    """Forks a guard, which forks the cell, ends it in time and says on `verdict` how it ended."""
    if os.fork():
        return
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _close_others(*cell.files, verdict, cell.ends_with, cell.holds, place.process)
        if place.process is not None:
            confinement.enter_namespaces(place.process)
        alive, alive_inside = os.pipe()
        child = os.fork()
        if child == 0:
            _run_cell(cell, place, limits, verdict, alive_inside)
        for file in {*cell.files, alive_inside} - {verdict}:
            os.close(file)
        plain.send(verdict, ("ended", cell.ends_with is None, _watch(child, alive, cell, limits)))
    except MissingLayerError as error:
        plain.send(verdict, ("missing", error.layer, error.reason))
    except OSError as error:
        plain.send(verdict, ("missing", "fork server", str(error)))
    finally:
        os._exit(0)


def _run_cell(cell: _Cell, place: _Place, limits: Limits, verdict: int, alive: int) -> NoReturn:
    """The cell: closes behind itself and works. `alive` ends with the process and is never used."""
    try:
        os.setsid()
        _close_others(*cell.files, verdict, alive)
        if place.process is None:
            confinement.limit(limits)
        else:
            confinement.confine(limits, place.folders)
        if verdict not in cell.files:
            os.close(verdict)
        cell.work()
    except MissingLayerError as error:
        plain.send(verdict, ("missing", error.layer, error.reason))
    finally:
        os._exit(0)


def _watch(child: int, alive: int, cell: _Cell, limits: Limits) -> str:
    """Waits until a cell ends, or ends it; how it ended, "" if by itself or for being done."""
    watched = [alive] if cell.ends_with is None else [alive, cell.ends_with]
    closed = select.select(watched, [], [], cell.seconds)[0]
    if closed and alive not in closed:
        closed += select.select([alive], [], [], _SETTLE)[0]
    for kill in (os.kill, os.killpg):  # the second for what it has started, without the sandbox
        with suppress(ProcessLookupError, PermissionError):
            kill(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    if not closed:
        return f"ran longer than {cell.seconds:g} s"
    # Of a program that dies, the tests hear before it is gone, and may be over first.
    if alive not in closed or not os.WIFSIGNALED(status):
        return ""
    # The kernel's limit counts ticks, `used` measures: on a busy machine they differ.
    if os.WTERMSIG(status) == signal.SIGKILL and used.ru_utime + used.ru_stime > limits.seconds / 2:
        return f"used more than {limits.seconds} s of processor time"
    return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"


def _close_others(*kept: int | None) -> None:
    """Closes every descriptor but the first three and those that are kept."""
    first = 3
    for file in sorted(f for f in {*kept} if f is not None):
        os.closerange(first, file)
        first = file + 1
    os.closerange(first, 2**16)
