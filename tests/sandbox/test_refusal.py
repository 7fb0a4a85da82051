"""A sandbox with a hole is none: each layer that is taken away is named, and nothing runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tgp_multimodal.evaluation.sandbox import Sandbox, SandboxError, Trial, runner

TRY = """
from tgp_multimodal.evaluation.sandbox import Sandbox, SandboxError
try:
    with Sandbox() as sandbox: print('runs')
except SandboxError as error:
    print(error)
"""
# Takes one thing away by a filter of its own, then becomes the interpreter it was asked for: a call
# fails with ENOSYS, if its first argument is the given one (-1: whatever it is).
WITHOUT = """
import ctypes, os, struct, sys
number, argument = int(sys.argv[1]), int(sys.argv[2])
code = [(0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 16), (0x15, 0, 1, argument),
        (0x06, 0, 0, 0x50026), (0x06, 0, 0, 0x7fff0000)]
if argument < 0:
    code[2:4] = [(0x06, 0, 0, 0x50026)] * 2
raw = b''.join(struct.pack('HBBI', *i) for i in code)
class Program(ctypes.Structure): _fields_ = [('n', ctypes.c_ushort), ('f', ctypes.c_char_p)]
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(code), raw)), 0, 0) == 0
os.execv(sys.executable, [sys.executable, '-c', sys.argv[3]])
"""
TAKEN = {
    "Landlock": (444, 444, -1),
    "seccomp": (157, 167, 22),
    "mount namespace": (165, 40, -1),
    "mount namespace ": (442, 442, -1),
    "mount namespace  ": (155, 41, -1),
    "namespace": (272, 97, -1),
    "capabilities": (126, 91, -1),
}


def said(*command: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(Path(runner.__file__).parents[3])}
    run = subprocess.run(
        [*command], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert not run.stderr, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize("layer", TAKEN)
def test_a_layer_that_is_taken_away_is_named(layer: str, sandbox: Sandbox):
    x86, arm, argument = TAKEN[layer]
    number = str(x86 if os.uname().machine == "x86_64" else arm)
    sentence = said(sys.executable, "-c", WITHOUT, number, str(argument), TRY)
    assert sentence.startswith("sandbox must have all of its layers to run a program. Got no ")
    assert layer.strip() in sentence
    assert "Function not implemented" in sentence


def test_without_user_namespaces_it_refuses(sandbox: Sandbox):
    off = "echo 0 > /proc/sys/user/max_user_namespaces && exec " + sys.executable + ' -c "$0"'
    try:
        sentence = said("unshare", "-Ur", "sh", "-c", off, TRY)
    except (FileNotFoundError, AssertionError) as error:
        pytest.skip(f"needs unshare(1) and the right to switch them off: {error}")
    assert "Got no " in sentence
    assert "namespace" in sentence
    assert "No space left" in sentence


def test_another_system_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match=r"must run on Linux.*Got darwin instead"):
        Sandbox()


def test_a_server_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(SandboxError, match=r"Got no fork server \(the other side has closed\)"):
        Sandbox()


def test_a_server_that_dies_gives_no_verdict(sandbox: Sandbox):
    with Sandbox() as own:
        own._server.kill()
        own._server.wait()
        inner = [p for p in Path("/proc").glob("[0-9]*") if _is_server_of(p, own)]
        for process in inner:
            os.kill(int(process.name), 9)
        with pytest.raises(SandboxError, match="fork server"):
            own.judge([Trial("def f(): return 1", "assert f() == 1", "f")] * 3)


def _is_server_of(process: Path, sandbox: Sandbox) -> bool:
    try:
        words = (process / "cmdline").read_text().split("\0")
        session = int((process / "stat").read_text().rpartition(")")[2].split()[3])
    except (OSError, ValueError, IndexError):
        return False
    return "safe" in words and session == sandbox._server.pid


def test_a_program_that_reads_outside_is_no_sandbox(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
):
    """A server that is unsafe and calls itself safe is found out before anything is run."""
    monkeypatch.setattr(runner, "_MAIN", runner._MAIN.replace("== 'unsafe'", "== 'safe'"))
    with pytest.raises(SandboxError, match="Got no isolation"):
        Sandbox()


def test_unsafe_local_says_what_it_lacks(unsafe: Sandbox):
    assert unsafe.layers == ("limits",)


def test_layers_are_listed(sandbox: Sandbox):
    text = " ".join(sandbox.layers)
    for word in ("root", "user", "mount", "pid", "net", "ipc", "Landlock", "seccomp", "limits"):
        assert word in text
