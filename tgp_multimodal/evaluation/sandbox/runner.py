"""The side of the sandbox that a caller sees: programs in, verdicts out."""

import itertools
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tgp_multimodal
from tgp_multimodal.evaluation.sandbox import plain
from tgp_multimodal.evaluation.sandbox.limits import ORDER, USUAL, Limits

_START_SECONDS = 60.0
_CLOSE_SECONDS = 30.0  # that the server has to end
_LATE_SECONDS = 30.0  # a job that takes so much longer than its limit was lost with the server
_MAIN = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    "from tgp_multimodal.evaluation.sandbox.server import main;"
    "sys.path.pop(0); main(int(sys.argv[2]), sys.argv[3] == 'unsafe')"
)


class SandboxError(ValueError):
    """Programs cannot be run safely here; the message names the layer that is missing."""


class Trial(NamedTuple):
    """A program and what it must do.

    Attributes:
        program: the text that is not trusted.
        tests: Python code with assertions, which calls `function`.
        function: name of the program's function under test.
        reference: trusted code that the tests may use, run before them in their process.
        setup: code of the benchmark that is run after the program, in its process. The tests may
            pass what it assigns as an argument.
        names: variables that `setup` assigns.
    """

    program: str
    tests: str
    function: str
    reference: str = ""
    setup: str = ""
    names: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """What came of a trial.

    Attributes:
        passed: whether every assertion held.
        reason: why not, one sentence; "" where all is well.
    """

    passed: bool
    reason: str


class _Job(NamedTuple):
    """A trial that is under way."""

    place: int
    parts: list[bytes]
    deadline: float


class Sandbox:
    """Judges programs that nobody has read. Used in a `with` statement.

    Args:
        limits: of each program.
        unsafe_local: without isolation: programs run as the user who calls, with all that the user
            may read, write and send. Limits of time and memory still hold.
        workers: jobs at once; as many as this process has processors where None.

    Attributes:
        layers: names of what stands between a program and this machine.

    Raises:
        SandboxError: a layer is missing.
    """

    def __init__(
        self, limits: Limits = USUAL, unsafe_local: bool = False, workers: int | None = None
    ) -> None:
        self.limits, self.workers = limits, workers or processors()
        if sys.platform != "linux" and not unsafe_local:
            raise SandboxError(
                "sandbox must run on Linux, whose namespaces, Landlock and seccomp it is made of."
                f" Got {sys.platform} instead."
            )
        self._link, theirs = socket.socketpair()
        root = str(Path(tgp_multimodal.__file__).resolve().parent.parent)
        # Sets are walked in the order of hashes: a fixed seed makes verdicts repeatable.
        environment = {"PYTHONHASHSEED": "0"}
        how = "unsafe" if unsafe_local else "safe"
        self._server = subprocess.Popen(
            [sys.executable, "-sSPB", "-c", _MAIN, root, str(theirs.fileno()), how],
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self.layers = self._ready()
        self._prove(unsafe_local)

    def _ready(self) -> tuple[str, ...]:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._link, selectors.EVENT_READ)
                if not selector.select(_START_SECONDS):
                    raise EOFError(f"it does not start within {_START_SECONDS:g} s")
            kind, *said = plain.receive(self._link.fileno())
        except (EOFError, OSError, ValueError) as error:
            kind, said = "missing", ["fork server", str(error)]
        if kind != "ready":
            self.close()
            raise _missing(*said)
        return tuple(said[0])

    def _prove(self, unsafe_local: bool) -> None:
        """Two programs that must end differently, before any that matters is run."""
        right = Trial("def f(x): return x + 1", "assert f(1) == 2", "f")
        reading = "def f(x):\n    with open(x, 'rb') as file:\n        return len(file.read())"
        outside = Trial(reading, f"assert f({__file__!r}) > 0", "f")
        try:
            can, reads = self.judge([right, outside])
            if not can.passed:
                raise _missing("fork server", can.reason)
            if reads.passed and not unsafe_local:
                raise _missing("isolation", "a program read a file of this machine")
        except SandboxError:
            self.close()
            raise

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the server, and with it whatever still runs."""
        self._link.close()
        try:
            self._server.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()

    def judge(self, trials: Sequence[Trial]) -> list[Verdict]:
        """Verdicts in the order of the trials; when it returns, none of their processes is left.

        Raises:
            SandboxError: the server, or a layer in it, fails. No verdict is given then.
        """
        found: dict[int, Verdict] = {}
        waiting = iter(enumerate(trials))
        with selectors.DefaultSelector() as selector:
            try:
                for place, trial in itertools.islice(waiting, self.workers):
                    self._start(place, trial, selector)
                while selector.get_map():
                    for job in self._ended(selector):
                        found[job.place] = _verdict(b"".join(job.parts))
                        for place, trial in itertools.islice(waiting, 1):
                            self._start(place, trial, selector)
            finally:
                for key in selector.get_map().values():
                    os.close(key.fd)
        return [found[i] for i in range(len(trials))]

    def _start(self, place: int, trial: Trial, selector: selectors.BaseSelector) -> None:
        contents: list[dict[str, Any]] = [
            {"program": trial.program, "setup": trial.setup},
            {
                "tests": trial.tests,
                "reference": trial.reference,
                "function": trial.function,
                "names": [*trial.names],
            },
        ]
        # Both are encoded before one is opened: what cannot be leaves nothing open.
        program, tests = map(_file, [plain.encode(content) for content in contents])
        verdict, theirs = os.pipe()
        order = ORDER.pack(*self.limits)
        try:
            socket.send_fds(self._link, [order], [program, tests, theirs])
        except OSError as error:
            os.close(verdict)
            raise _missing("fork server", str(error)) from None
        finally:
            for file in (program, tests, theirs):
                os.close(file)
        deadline = time.monotonic() + self.limits.wall + _LATE_SECONDS
        selector.register(verdict, selectors.EVENT_READ, _Job(place, [], deadline))

    def _ended(self, selector: selectors.BaseSelector) -> list[_Job]:
        """Waits for something to be read; the jobs that have ended by it."""
        ended = []
        for key, _ in selector.select(1.0):
            part = os.read(key.fd, 65_536)
            key.data.parts.append(part)
            if not part:
                selector.unregister(key.fd)
                os.close(key.fd)
                ended.append(key.data)
        if any(k.data.deadline < time.monotonic() for k in selector.get_map().values()):
            raise _missing("fork server", "it does not answer")
        return ended


def _verdict(stream: bytes) -> Verdict:
    said, sentence = {}, None
    for kind, *rest in plain.values(stream):
        if kind == "missing":
            raise _missing(*rest)
        if kind == "tests":
            sentence = rest[0]
        else:
            said["tests" if rest[0] else "program"] = rest[1]
    if sentence is None and not any(said.values()):
        raise _missing("fork server", "a job ended without a word")
    if sentence is None:
        sentence = f"the tests: {said.get('tests') or said['program']}"
    if sentence == "the program ended" and said.get("program"):
        sentence = f"the program {said['program']}"
    return Verdict(sentence == "", sentence)


def _file(content: bytes) -> int:
    """A descriptor of a nameless file that holds this."""
    with tempfile.TemporaryFile() as stream:
        stream.write(content)
        stream.seek(0)
        return os.dup(stream.fileno())


def _missing(layer: str, reason: str) -> SandboxError:
    return SandboxError(
        f"sandbox must have all of its layers to run a program. Got no {layer} ({reason}) instead."
    )


def processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
