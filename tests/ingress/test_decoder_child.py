"""What a decoding child has given up, and what it has not even loaded."""

import importlib.util
import json
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


def in_a_locked_child(code: str) -> str:
    """Runs code in a fresh process after `lock_down`; gives what it raised."""
    script = (
        "import os, socket\n"
        "from silkline.ingress.decoder_child import lock_down\n"
        f"lock_down({MEMORY})\n"
        "try:\n"
        f"    {code}\n"
        "except BaseException as error:\n"
        "    os.write(1, type(error).__name__.encode())\n"
        "else:\n"
        "    os.write(1, b'allowed')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return done.stdout.decode()


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_what_it_does_not_need_fails(attempt: str) -> None:
    assert in_a_locked_child(ATTEMPTS[attempt]) in {"OSError", "MemoryError", "ModuleNotFoundError"}


def test_the_limits_do_not_stop_honest_work() -> None:
    assert in_a_locked_child("bytearray(1024 * 1024)") == "allowed"


def test_it_loads_little() -> None:
    """A small child starts fast and has little to be misused: neither our rooms nor a client."""
    link = decoder_link._BOOTSTRAP.replace(
        "main(int(memory_bytes))",
        "import json; print(json.dumps(sorted(sys.modules)))",
    )
    pillow = importlib.util.find_spec("PIL")
    assert pillow is not None
    assert pillow.origin is not None
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", link, str(decoder_link._PACKAGE),
         pillow.origin.rpartition("/PIL/")[0], "0"],
        capture_output=True, check=True, env={},
    )  # fmt: skip
    loaded = set(json.loads(done.stdout))
    ours = {name for name in loaded if name.startswith("silkline")}
    assert ours == {
        "silkline",
        "silkline.ingress",
        *(f"silkline.ingress.{name}" for name in ("decoder_child", "decoder_wire", "identity",
                                                  "normalise", "perceptual", "resize")),
    }  # fmt: skip
    heavy = {"asyncio", "numpy", "socket", "ssl", "pickle", "multiprocessing",
             "pydantic", "msgspec", "aiohttp", "http", "urllib", "site"}  # fmt: skip
    assert loaded & heavy == set()
    assert len(loaded) < 200


def test_the_digest_is_over_the_mode_that_it_sends() -> None:
    assert decoder_child.MODE == "RGB"
