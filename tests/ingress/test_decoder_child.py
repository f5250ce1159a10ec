"""What a decoding child has given up, and what it has not even loaded."""

import importlib.util
import json
import platform
import subprocess
import sys

import pytest

from silkline.ingress import decoder_child, decoder_link

MEMORY = 512 * 1024 * 1024

ATTEMPTS = {
    "read a file": "open('/etc/hostname')",
    "write a file": "open('/tmp/silkline-must-not-exist', 'w')",
    "open a socket": "__import__('socket').socket()",
    "pair sockets": "__import__('socket').socketpair()",
    "make a pipe": "os.pipe()",
    "duplicate a descriptor": "os.dup(0)",
    "import what is not loaded": "__import__('wave')",
    "allocate much": "bytearray(600 * 1024 * 1024)",
}

needs_filter = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="Not shown here: system calls are filtered on Linux on x86-64 only.",
)

FILTERED = {
    "signal the gateway": "os.kill(os.getppid(), 0)",
    "signal itself": "os.kill(os.getpid(), 15)",
    "read the gateway's memory": "call(310, os.getppid(), 0, 0, 0, 0, 0)",
    "write the gateway's memory": "call(311, os.getppid(), 0, 0, 0, 0, 0)",
    "trace the gateway": "call(101, 0x4206, os.getppid(), 0, 0)",
    "limit the gateway": "resource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
    "become another user": "os.setuid(65534)",
    "start a program": "os.execv('/bin/true', ['true'])",
    "fork": "os.fork()",
    "start a thread": "__import__('_thread').start_new_thread(print, ())",
    "connect what it has": "call(42, 0, 0, 0)",
    "remove a file": "os.unlink('/tmp/silkline-must-not-exist')",
    "wait for something": "__import__('select').poll().poll(0)",
    "load code": "call(319, b'x', 0)",
}


def in_a_locked_child(code: str) -> str:
    """Runs code in a fresh process after `lock_down`; gives what it raised."""
    script = (
        "import _thread, ctypes, os, resource, select, socket\n"
        "from silkline.ingress.decoder_child import lock_down\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def call(*arguments):\n"
        "    if libc.syscall(*arguments) < 0:\n"
        "        raise OSError(ctypes.get_errno(), 'failed')\n"
        f"lock_down({MEMORY})\n"
        "try:\n"
        f"    {code}\n"
        "except BaseException as error:\n"
        "    number = getattr(error, 'errno', None)\n"
        "    os.write(1, f'{type(error).__name__} {number}'.encode())\n"
        "else:\n"
        "    os.write(1, b'allowed')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return done.stdout.decode()


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_what_it_does_not_need_fails(attempt: str) -> None:
    raised = in_a_locked_child(ATTEMPTS[attempt]).split()[0]
    assert raised in {"OSError", "PermissionError", "MemoryError", "ModuleNotFoundError"}


@needs_filter
@pytest.mark.parametrize("attempt", FILTERED)
def test_what_a_limit_cannot_forbid_is_filtered(attempt: str) -> None:
    allowed = {"PermissionError 1", "OSError 1", "RuntimeError None"}
    assert in_a_locked_child(FILTERED[attempt]) in allowed


def test_the_limits_do_not_stop_honest_work() -> None:
    assert in_a_locked_child("bytearray(1024 * 1024)") == "allowed"
    own = "resource.setrlimit(resource.RLIMIT_CPU, (60, resource.RLIM_INFINITY))"
    assert in_a_locked_child(own) == "allowed"


def test_it_loads_little() -> None:
    """A small child starts fast and has little to be misused: neither our rooms nor a client."""
    link = decoder_link._BOOTSTRAP.replace(
        'main(int(memory_bytes), documents=documents == "True")',
        "import json; print(json.dumps(sorted(sys.modules)))",
    )
    pillow = importlib.util.find_spec("PIL")
    assert pillow is not None
    assert pillow.origin is not None
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", link, str(decoder_link._PACKAGE),
         "0", "False", pillow.origin.rpartition("/PIL/")[0]],
        capture_output=True, check=True, env={},
    )  # fmt: skip
    loaded = set(json.loads(done.stdout))
    ours = {name for name in loaded if name.startswith("silkline")}
    assert ours == {
        "silkline",
        "silkline.ingress",
        *(f"silkline.ingress.{name}" for name in ("decoder_child", "decoder_jail", "decoder_wire",
                                                  "header", "identity",
                                                  "jpeg_end", "normalise", "perceptual", "resize")),
    }  # fmt: skip
    heavy = {"asyncio", "numpy", "socket", "ssl", "pickle", "multiprocessing",
             "pydantic", "msgspec", "aiohttp", "http", "urllib", "site"}  # fmt: skip
    assert loaded & heavy == set()
    assert len(loaded) < 200


def test_the_digest_is_over_the_mode_that_it_sends() -> None:
    assert decoder_child.MODE == "RGB"
