"""The allow-list of system calls, as a program of classic BPF for the kernel's seccomp.

What is not listed fails with EPERM, so that a program sees an ordinary PermissionError. Not listed,
among all others: execve, fork, vfork, clone of processes, every socket call, ptrace, process_vm_*,
mount, unshare, setns, bpf, keyctl, userfaultfd, io_uring_*, perf_event_open, memfd_create, chmod,
link, symlink, mknod, prctl, seccomp, kill, setrlimit, shmget and personality. Threads are allowed:
they die with their process.
"""

import ctypes
import struct
from functools import cache
from typing import NamedTuple

from tgp_multimodal.evaluation.sandbox.kernel import machine

# Name, number on x86-64, number on arm64, which has no call of some old names.
_TABLE = """
read 0 63, write 1 64, readv 19 65, writev 20 66, pread64 17 67, pwrite64 18 68, open 2 -,
openat 257 56, creat 85 -, close 3 57, close_range 436 436, stat 4 -, fstat 5 80, lstat 6 -,
newfstatat 262 79, statx 332 291, lseek 8 62, access 21 -, faccessat 269 48, faccessat2 439 439,
readlink 89 -, readlinkat 267 78, getdents 78 -, getdents64 217 61, getcwd 79 17, chdir 80 49,
fchdir 81 50, mkdir 83 -, mkdirat 258 34, rmdir 84 -, unlink 87 -, unlinkat 263 35, rename 82 -,
renameat 264 38, renameat2 316 276, truncate 76 45, ftruncate 77 46, fsync 74 82, fdatasync 75 83,
flock 73 32, umask 95 166, pipe 22 -, pipe2 293 59, dup 32 23, dup2 33 -, dup3 292 24,
select 23 -, pselect6 270 72, poll 7 -, ppoll 271 73,
mmap 9 222, mprotect 10 226, munmap 11 215, mremap 25 216, brk 12 214, madvise 28 233,
rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, rt_sigpending 127 136,
rt_sigtimedwait 128 137, rt_sigsuspend 130 133, sigaltstack 131 132, pause 34 -, alarm 37 -,
getitimer 36 102, setitimer 38 103,
nanosleep 35 101, clock_nanosleep 230 115, clock_gettime 228 113, clock_getres 229 114,
gettimeofday 96 169, time 201 -, times 100 153,
getpid 39 172, gettid 186 178, getppid 110 173, getuid 102 174, geteuid 107 175, getgid 104 176,
getegid 108 177, getresuid 118 148, getresgid 120 150, getgroups 115 158, getpgrp 111 -,
getpgid 121 155, getsid 124 156,
getrlimit 97 163, getrusage 98 165, uname 63 160, getrandom 318 278, sched_yield 24 124,
sched_getaffinity 204 123, getcpu 309 168,
futex 202 98, set_robust_list 273 99, rseq 334 293, set_tid_address 218 96, membarrier 324 283,
restart_syscall 219 128, exit 60 93, exit_group 231 94, wait4 61 260, waitid 247 95
"""


class Condition(NamedTuple):
    """A system call that is allowed with some values of an argument only.

    Attributes:
        numbers: on x86-64 and on arm64.
        argument: which, from 0.
        values: of its lower 32 bits.
        zero: further arguments that must be 0, all 64 bits.
    """

    numbers: tuple[int, int]
    argument: int
    values: tuple[int, ...]
    zero: tuple[int, ...] = ()


CONDITIONS = {
    # What a thread is made with, by glibc and by musl.
    "clone": Condition((56, 220), 0, (0x3D0F00, 0x7D0F00)),
    # To copy a descriptor, to read and to set its flags.
    "fcntl": Condition((72, 25), 1, (0, 1, 2, 3, 4, 1030)),
    # Is it a terminal, how wide is it, is it closed in exec? What `open` asks.
    "ioctl": Condition((16, 29), 1, (0x5401, 0x5413, 0x5450, 0x5451)),
    "prlimit64": Condition((302, 261), 0, (0,), (2,)),  # to read its own limits
    "tgkill": Condition((234, 131), 0, (1,)),  # abort(): itself, the first of its namespace
}
_CLONE3 = (435, 435)

_ARCHITECTURES = (0xC000003E, 0xC00000B7)
_X32 = 0x40000000  # numbers of x86-64's third interface begin here
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38  # on Linux, whatever system this file is read on
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

Instruction = tuple[int, int, int, int]


def allowed(column: int) -> dict[str, int]:
    """Calls that are allowed whatever their arguments, name -> number.

    Args:
        column: 0 for x86-64, 1 for arm64.
    """
    rows = (entry.split() for entry in _TABLE.split(","))
    return {row[0]: int(row[1 + column]) for row in rows if row[1 + column] != "-"}


def instructions(column: int) -> list[Instruction]:
    """The filter: (code, jump if true, jump if false, operand) each."""
    found: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[column]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]
    for number in allowed(column).values():
        found += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    # glibc, told that there is none, makes threads by clone, whose flags can be looked at.
    found += [(_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _FAIL | _ENOSYS)]
    for condition in CONDITIONS.values():
        body = _body(condition)
        found += [(_EQUAL, 0, len(body), condition.numbers[column]), *body]
    return [*found, (_RETURN, 0, 0, _FAIL | _EPERM)]


def _body(condition: Condition) -> list[Instruction]:
    refuse = (_RETURN, 0, 0, _FAIL | _EPERM)
    body: list[Instruction] = []
    for argument in condition.zero:
        for half in (0, 4):
            body += [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument + half), (_EQUAL, 1, 0, 0), refuse]
    body.append((_LOAD, 0, 0, _ARGUMENTS + 8 * condition.argument))
    for value in condition.values:
        body += [(_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    return [*body, refuse]


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


@cache
def program() -> Program:
    """The filter for this machine, made once, as `kernel.load_filter` takes it.

    Raises:
        MissingLayerError: there is no table for this processor.
    """
    found = instructions(machine())
    return Program(len(found), b"".join(struct.pack("HBBI", *i) for i in found))
