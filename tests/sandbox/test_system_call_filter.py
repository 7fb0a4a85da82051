"""The seccomp filter on both processors, run by an interpreter of classic BPF that stands here."""

import re
from pathlib import Path

import pytest

from tgp_multimodal.evaluation.sandbox import seccomp

ARCHITECTURE = (0xC000003E, 0xC00000B7)
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
COLUMNS = pytest.mark.parametrize("column", [0, 1], ids=["x86-64", "arm64"])
HEADERS = (
    Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    Path("/usr/include/asm-generic/unistd.h"),
)
# In <asm-generic/unistd.h> these have other names before the preprocessor.
GENERIC = {"newfstatat": "fstatat"}
REFUSED = {
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
    "sendmsg": (46, 211), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "mount": (165, 40), "umount2": (166, 39), "unshare": (272, 97),
    "setns": (308, 268), "pivot_root": (155, 41), "chroot": (161, 51), "bpf": (321, 280),
    "keyctl": (250, 219), "add_key": (248, 217), "userfaultfd": (323, 282), "kill": (62, 129),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "perf_event_open": (298, 241), "memfd_create": (319, 279), "prctl": (157, 167),
    "seccomp": (317, 277), "setrlimit": (160, 164), "shmget": (29, 194), "personality": (135, 92),
    "init_module": (175, 105), "kexec_load": (246, 104), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "open_by_handle_at": (304, 265), "symlinkat": (266, 36),
    "linkat": (265, 37), "mknodat": (259, 33), "fchmodat": (268, 53), "modify_ldt": (154, None),
    "arch_prctl": (158, None), "setuid": (105, 146), "capset": (126, 91), "openat2": (437, 437),
    "mount_setattr": (442, 442), "tkill": (200, 130), "pidfd_send_signal": (424, 424),
    "name_to_handle_at": (303, 264), "fsopen": (430, 430), "clock_settime": (227, 112),
    "sethostname": (170, 161), "swapon": (167, 224), "acct": (163, 89), "quotactl": (179, 60),
}  # fmt: skip


def answer(column: int, number: int, *arguments: int, architecture: int | None = None) -> int:
    """What the kernel's interpreter would return for a call."""
    words = {0: number, 4: ARCHITECTURE[column] if architecture is None else architecture}
    for place, argument in enumerate((*arguments, *[0] * (6 - len(arguments)))):
        words[16 + 8 * place] = argument & 0xFFFFFFFF
        words[20 + 8 * place] = argument >> 32 & 0xFFFFFFFF
    program, place, held = seccomp.instructions(column), 0, 0
    while True:
        code, yes, no, operand = program[place]
        place += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            held = words[operand]
        else:
            holds = held == operand if code == 0x15 else held >= operand
            place += yes if holds else no


@COLUMNS
def test_every_listed_call_is_allowed(column: int):
    assert all(answer(column, n) == ALLOW for n in seccomp.allowed(column).values())


@COLUMNS
def test_every_other_number_fails(column: int):
    conditional = {c.numbers[column] for c in seccomp.CONDITIONS.values()}
    listed = {*seccomp.allowed(column).values(), *conditional, 435}
    others = [n for n in range(1024) if n not in listed]
    assert {answer(column, n) for n in others} == {EPERM}
    assert len(others) > 850


@COLUMNS
@pytest.mark.parametrize("name", REFUSED)
def test_what_must_be_refused_is(name: str, column: int):
    number = REFUSED[name][column]
    if number is not None:
        assert answer(column, number, 1, 1, 1) == EPERM


@COLUMNS
def test_another_interface_of_the_processor_kills(column: int):
    assert answer(column, 0, architecture=0x40000003) == KILL  # i386
    assert answer(column, 0, architecture=ARCHITECTURE[1 - column]) == KILL
    assert answer(column, 0x40000000) == KILL  # x32
    assert answer(column, 0xFFFFFFFF) == KILL


@COLUMNS
def test_arguments_decide(column: int):
    number = {name: c.numbers[column] for name, c in seccomp.CONDITIONS.items()}
    thread = 0x3D0F00
    assert answer(column, number["clone"], thread) == ALLOW
    for flags in (17, 0, thread | 0x10000000, thread & ~0x10000, thread | 0x20000000):
        assert answer(column, number["clone"], flags) == EPERM
    assert answer(column, 435, thread) == ENOSYS
    assert answer(column, number["tgkill"], 1, 5, 6) == ALLOW
    assert answer(column, number["tgkill"], 2, 5, 6) == EPERM
    assert answer(column, number["ioctl"], 1, 0x5401) == ALLOW
    assert answer(column, number["ioctl"], 0, 0x5412) == EPERM  # puts letters into a terminal
    assert answer(column, number["fcntl"], 3, 1030) == ALLOW
    assert answer(column, number["fcntl"], 3, 1031) == EPERM  # the size of a pipe
    assert answer(column, number["prlimit64"], 0, 7, 0, 1234) == ALLOW
    assert answer(column, number["prlimit64"], 0, 7, 1234) == EPERM
    assert answer(column, number["prlimit64"], 0, 7, 1234 << 32) == EPERM
    assert answer(column, number["prlimit64"], 99, 7, 0, 1234) == EPERM


@COLUMNS
def test_jumps_and_length_are_within_what_the_kernel_takes(column: int):
    program = seccomp.instructions(column)
    assert len(program) <= 4096
    for place, (code, yes, no, _) in enumerate(program):
        assert max(yes, no) <= 255
        if code in (0x15, 0x35):
            assert place + 1 + max(yes, no) < len(program)


@COLUMNS
def test_numbers_are_those_of_the_headers(column: int):
    if not HEADERS[column].is_file():
        pytest.skip(f"needs {HEADERS[column]}")
    text = HEADERS[column].read_text()
    there = {name: int(n) for name, n in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
    named = {name: c.numbers[column] for name, c in seccomp.CONDITIONS.items()}
    for name, number in (seccomp.allowed(column) | named).items():
        found = there.get(name, there.get(GENERIC.get(name, "")))
        assert found == number, name
    for name, numbers in REFUSED.items():
        if numbers[column] is not None:
            assert there.get(name, numbers[column]) == numbers[column], name
