"""Programs that try to leave the sandbox. Each defines `attack(at)`, which is true if it got out.

`at` has what lies outside: paths of a `secret` file and of a `folder`, a `port` and a `socket` that
somebody listens on, the `abstract` name of another, and the `pid` of the process that judges.
"""

# True where the same program, run without the sandbox, does get out and does no harm: it shows
# that the program is not merely wrong.
PROVEN = {
    "read a file", "list a folder", "write a file", "append to a file", "read by a symbolic link",
    "read by climbing", "read through /proc/self/root", "read own environment", "run a shell",
    "run by subprocess", "fork", "spawn", "connect by TCP", "connect to a Unix socket",
    "connect to an abstract socket", "listen", "send by UDP", "ask netlink", "make a socket pair",
    "vfork by number", "keep a daemon", "memory file", "share memory", "move to another session",
    "write own memory",
}  # fmt: skip

_SYSCALL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(*numbers):
    x86, arm = numbers[:2]
    number = x86 if os.uname().machine == "x86_64" else arm
    return libc.syscall(number, *map(ctypes.c_long, numbers[2:]))
"""

FILES = {
    "read a file": "def attack(at): return open(at['secret']).read() == 'secret'",
    "list a folder": "import os\ndef attack(at): return 'secret' in os.listdir(at['folder'])",
    "read other packages": """
import os
def attack(at):
    own = os.path.dirname(os.__file__)
    there = [f'{own}/{name}' for name in ('site-packages', 'dist-packages')]
    return any(os.listdir(folder) for folder in there if os.path.isdir(folder))
""",
    "write a file": """
def attack(at):
    with open(at['folder'] + '/new', 'w') as file:
        return file.write('x') == 1
""",
    "append to a file": """
def attack(at):
    with open(at['folder'] + '/log', 'a') as file:
        return file.write('x') == 1
""",
    "delete a file": "import os\ndef attack(at): os.remove(at['secret']); return True",
    "rename a file": """
import os
def attack(at): os.rename(at['secret'], at['folder'] + '/moved'); return True
""",
    "truncate a file": "import os\ndef attack(at): os.truncate(at['secret'], 0); return True",
    "make a file executable": """
import os
def attack(at): os.chmod(at['secret'], 0o777); return True
""",
    "read by a symbolic link": """
import os, tempfile
def attack(at):
    link = tempfile.mkdtemp() + '/link'
    os.symlink(at['secret'], link)
    return open(link).read() == 'secret'
""",
    "read by a hard link": """
import os
def attack(at): os.link(at['secret'], 'hard'); return open('hard').read() == 'secret'
""",
    "read by climbing": "def attack(at): return open('../' * 30 + at['secret'][1:]).read() != ''",
    "read through /proc/self/root": """
def attack(at): return open('/proc/self/root' + at['secret']).read() == 'secret'
""",
    "read through a parent's root": """
import os
def attack(at):
    for process in (1, os.getppid(), at['pid']):
        try:
            return open(f'/proc/{process}/root{at["secret"]}').read() == 'secret'
        except OSError:
            pass
""",
    "read own environment": "def attack(at): return len(open('/proc/self/environ').read()) >= 0",
    "read memory of the judge": """
def attack(at): return open(f'/proc/{at["pid"]}/mem', 'rb').fileno() > 0
""",
    "write own memory": "def attack(at): return open('/proc/self/mem', 'r+b').fileno() > 0",
    "write into the library": """
import os
def attack(at):
    for place in (os.__file__, os.path.dirname(os.__file__) + '/site-packages/own.py'):
        try:
            return open(place, 'a').write('#') == 1
        except OSError:
            pass
""",
    "replace a module of the library": """
import os, string
def attack(at): os.rename('/tmp', os.path.dirname(os.__file__) + '/x'); return True
""",
    "make a device": "import os\ndef attack(at): os.mknod('disk', 0o60600, 0x800); return True",
    "look at a disk": """
def attack(at):
    for disk in ('vda', 'sda', 'nvme0n1', 'mem', 'kmsg'):
        try:
            return open(f'/dev/{disk}', 'rb').fileno() > 0
        except FileNotFoundError:
            pass
""",
    "read by descriptors that were left open": """
import os
def attack(at):
    for file in range(3, 1024):
        try:
            if os.pread(file, 100, 0):
                return True
        except OSError:
            pass
""",
    "walk descriptors up": """
import os
def attack(at):
    for file in range(3, 1024):
        try:
            os.fchdir(file)
            return os.listdir('..')
        except OSError:
            pass
""",
    "uncover what its folder hides": _SYSCALL
    + "def attack(at): return libc.umount2(b'/tmp', 2) == 0",
    "mount": _SYSCALL + "def attack(at): return libc.mount(b'x', b'/tmp', b'proc', 0, 0) == 0",
    "change the root": _SYSCALL + "def attack(at): return libc.chroot(b'/tmp') == 0",
    "open by handle": _SYSCALL + "def attack(at): return call(304, 265, -100, 0, 0) >= 0",
}

PROCESSES = {
    "run a shell": "import os\ndef attack(at): return os.system('true') == 0",
    "run by subprocess": """
import subprocess
def attack(at): return subprocess.run(['/bin/sh', '-c', 'exit 0']).returncode == 0
""",
    "fork": """
import os
def attack(at):
    child = os.fork()
    if child == 0:
        os._exit(0)
    return child > 0
""",
    "fork bomb": "import os\ndef attack(at):\n    while True: os.fork()",
    "spawn": """
import os
def attack(at): return os.posix_spawn('/bin/true', ['true'], {}) > 0
""",
    "start by multiprocessing": """
import multiprocessing
def attack(at):
    one = multiprocessing.get_context('fork').Process(target=print)
    one.start()
    one.join()
    return one.exitcode == 0
""",
    "become another program": """
import os
def attack(at): os.execv('/bin/sh', ['sh', '-c', 'exit'])
""",
    "become the interpreter": """
import os, sys
def attack(at): os.execv(sys.executable, ['python', '-c', 'print(1)'])
""",
    "vfork by number": _SYSCALL
    + """
def attack(at):
    child = call(57, 220, 17, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    return child > 0
""",
    "clone by the third call": _SYSCALL
    + """
def attack(at):
    child = call(435, 435, ctypes.addressof((ctypes.c_uint64 * 8)(0, 0, 0, 0, 17)), 64)
    if child == 0:
        os._exit(0)
    return child > 0
""",
    "run from memory": _SYSCALL
    + """
def attack(at): return call(322, 281, libc.memfd_create(b'x', 0), 0, 0, 0, 0x1000) == 0
""",
    "memory file": "import os\ndef attack(at): return os.memfd_create('x') >= 0",
    "keep a daemon": """
import os, time
def attack(at):
    child = os.fork()
    if child == 0:
        os.setsid()
        time.sleep(3)
        os._exit(0)
    return child > 0
""",
    "move to another session": """
import os, subprocess
def attack(at): return subprocess.Popen(['true'], start_new_session=True).wait() == 0
""",
    "leave a thread": """
import threading
def forever():
    while True: pass
def attack(at):
    for _ in range(5): threading.Thread(target=forever).start()
    return at['pid'] == 0
""",
    "start many threads": """
import threading, time
def attack(at):
    for _ in range(2000): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return True
""",
    "kill the judge": "import os\ndef attack(at): os.kill(at['pid'], 0); return True",
    "kill the parent": "import os\ndef attack(at): os.kill(os.getppid() or -1, 15); return True",
    "kill everything": "import os\ndef attack(at): os.kill(-1, 15); return True",
    "signal by number": _SYSCALL + "def attack(at): return call(200, 130, at['pid'], 0) == 0",
    "signal a descriptor": "import os\ndef attack(at): return os.pidfd_open(at['pid']) >= 0",
    "trace the judge": _SYSCALL + "def attack(at): return libc.ptrace(16, at['pid'], 0, 0) == 0",
    "be traced": _SYSCALL + "def attack(at): return libc.ptrace(0, 0, 0, 0) == 0",
    "read memory by number": _SYSCALL
    + """
def attack(at): return call(310, 270, at['pid'], 0, 0, 0, 0, 0) >= 0
""",
}

NETWORK = {
    "connect by TCP": """
import socket
def attack(at): return socket.create_connection(('127.0.0.1', at['port']), 1).fileno() > 0
""",
    "connect by TCP 6": """
import socket
def attack(at): return socket.create_connection(('::1', at['port']), 1).fileno() > 0
""",
    "connect to a Unix socket": """
import socket
def attack(at): socket.socket(socket.AF_UNIX).connect(at['socket']); return True
""",
    "connect to an abstract socket": """
import socket
def attack(at): socket.socket(socket.AF_UNIX).connect(chr(0) + at['abstract']); return True
""",
    "send by UDP": """
import socket
def attack(at):
    return socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', at['port'])) == 1
""",
    "listen": """
import socket
def attack(at): return socket.create_server(('127.0.0.1', 0)).fileno() > 0
""",
    "ask netlink": "import socket\ndef attack(at): return socket.socket(16, 3).fileno() > 0",
    "send raw packets": """
import socket
def attack(at): return socket.socket(17, 3, 768).fileno() > 0
""",
    "make a socket pair": "import socket\ndef attack(at): return len(socket.socketpair()) == 2",
    "connect by number": _SYSCALL + "def attack(at): return call(41, 198, 2, 1, 0) >= 0",
    "open a page": """
import urllib.request
def attack(at): return urllib.request.urlopen(f'http://127.0.0.1:{at["port"]}', timeout=1) != 0
""",
}

KERNEL = {
    "io_uring": (425, 425, 8, "ctypes.addressof((ctypes.c_char * 256)())"),
    "bpf": (321, 280, 0, 0, 0),
    "userfaultfd": (323, 282, 1),
    "add a key": (248, 217, "ctypes.addressof(ctypes.create_string_buffer(b'user'))", 0, 0, 0, -2),
    "ask for keys": (250, 219, 0, -2, 1),
    "count events": (298, 241, 0, 0, -1, -1, 0),
    "a user namespace of its own": (272, 97, 0x10000000),
    "a network of its own": (272, 97, 0x40000000),
    "join a namespace": (308, 268, 0, 0),
    "another filter": (317, 277, 1, 0, 0),
    "a setting of the process": (157, 167, 1, 0, 0, 0, 0),
    "share memory": (29, 194, 0, 4096, 0o1600),
    "a message queue": (68, 186, 0, 0o1600),
    "a personality": (135, 92, 0x0040000),
    "raise a limit": (160, 164, 0, "ctypes.addressof((ctypes.c_uint64 * 2)(60, 60))"),
    "load a module": (175, 105, 0, 0, 0),
    "reboot": (169, 142, 0, 0, 0, 0),
    "set the clock": (227, 112, 0, 0),
    "rename the machine": (170, 161, "ctypes.addressof(ctypes.create_string_buffer(b'x'))", 1),
    "swap": (167, 224, 0, 0),
    "account": (163, 89, 0),
    "watch files": (253, 26, 0),
    "become root": (105, 146, 0),
    "take capabilities": (126, 91, 0, 0),
    "stop Landlock": (446, 446, -1, 0),
    "another processor's numbers": (0x40000000 + 39, 10_000),
    "a number that is none": (9_999, 9_999),
}


def _by_number(arguments: tuple[object, ...]) -> str:
    said = ", ".join(str(a) for a in arguments)
    return f"{_SYSCALL}\ndef attack(at): return call({said}) >= 0\n"


RESOURCES = {
    "memory bomb": """
def attack(at):
    held = []
    for _ in range(64): held.append(bytearray(64 * 2**20))
    return True
""",
    "memory by mapping": """
import mmap
def attack(at): return len(mmap.mmap(-1, 8 * 2**30)) > 0
""",
    "hang in C": "def attack(at): return pow(7, 10**9) % 10 == 7",
    "hang in a loop": "def attack(at):\n    while True: pass",
    "hang in a pattern": "import re\ndef attack(at): return re.match('(a+)+b', 'a' * 60) is None",
    "sleep": "import time\ndef attack(at): time.sleep(1000); return True",
    "hang where nobody interrupts": """
import signal, time
def attack(at):
    for number in range(1, 65):
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    while True:
        try: time.sleep(1000)
        except BaseException: pass
""",
    "flood the output": "def attack(at):\n    while True: print('x' * 2**20)",
    "flood every descriptor": """
import os
def attack(at):
    while True:
        for file in range(3, 64):
            try: os.write(file, b'\\xff' * 2**16)
            except OSError: pass
""",
    "a long answer": "def attack(at): return [0] * 10**7",
    "a deep answer": """
def attack(at):
    value = []
    for _ in range(10**5): value = [value]
    return value
""",
    "fill its folder": """
def attack(at):
    for number in range(100):
        with open(f'{number}', 'wb') as file: file.write(bytes(2**20))
    return True
""",
    "one large file": """
import os
def attack(at):
    with open('large', 'wb') as file: os.ftruncate(file.fileno(), 2**30)
    return True
""",
    "many files": """
def attack(at):
    for number in range(5000): open(f'{number}', 'w').close()
    return True
""",
    "many descriptors": "def attack(at): return len([open('x', 'w') for _ in range(500)]) == 500",
    "deep recursion": """
import sys
sys.setrecursionlimit(10**9)
def attack(at): return attack(at)
""",
    "deep recursion in C": """
def attack(at):
    value = ()
    for _ in range(10**6): value = (value,)
    return hash(value) == 0
""",
    "zip bomb": """
import zlib
def attack(at):
    packer = zlib.compressobj(9)
    packed = b''.join([packer.compress(bytes(2**22)) for _ in range(256)] + [packer.flush()])
    return len(zlib.decompress(packed)) == 2**30
""",
    "huge integer": "def attack(at): return len(hex(9 ** 9 ** 9)) > 0",
    "crash": "import ctypes\ndef attack(at): return ctypes.string_at(0)",
    "abort": "import os\ndef attack(at): os.abort()",
    "an endless module": "while True: pass",
}

HOSTILE = {
    **FILES,
    **PROCESSES,
    **NETWORK,
    **{name: _by_number(arguments) for name, arguments in KERNEL.items()},
    **RESOURCES,
}
