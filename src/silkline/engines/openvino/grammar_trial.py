"""Tries grammars in a child process, which ends if one takes too long or too much memory.

xgrammar cannot be interrupted. What a grammar costs depends on the vocabulary and is known only
once it is compiled. So each grammar is compiled in the child first, and in the pipeline only if
that went well.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec
import openvino_genai as genai
import psutil

from silkline.core import ConstraintKind
from silkline.engines.grammar.refusal import refused
from silkline.engines.openvino.grammar_compiler import MAX_BYTES, CheckedGrammar, GrammarCompiler
from silkline.errors import InternalFault

MAX_SECONDS = 1.0
"""Maximum processor time for compiling a grammar and for some steps with it."""

_MAX_GRAMMAR_BYTES = 512 * 1024 * 1024
"""Maximum memory while one grammar is compiled."""


class GrammarTrial:
    """The child process; it is started when it is needed, and again when it has ended."""

    def __init__(self, tokenizer: Path) -> None:
        """Starts nothing; `tokenizer` is the folder with the tokenizer's IR."""
        self._command = (sys.executable, "-P", "-m", __name__, str(tokenizer))
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Starts the child and waits until it is ready; no effect if it runs. Takes seconds.

        Raises:
            InternalFault: The child does not start.
        """
        with self._lock:
            self._started()

    def check(self, kind: ConstraintKind, grammar: str) -> CheckedGrammar:
        """Compiles a grammar in the child.

        Args:
            kind: What it was made of, for the error message.
            grammar: The grammar in EBNF.

        Raises:
            InvalidRequest: It takes too long or too much memory.
            InternalFault: The child does not start.
        """
        with self._lock:
            child = self._started()
            to_child, from_child = _pipes(child)
            try:
                to_child.write(msgspec.json.encode(grammar) + b"\n")
                to_child.flush()
                reply = from_child.readline()
            except BrokenPipeError:
                reply = b""
            if not reply:
                self._end()
                raise refused(
                    kind,
                    "is too complex for this engine and the model's vocabulary: compiling it takes "
                    f"more than {MAX_SECONDS:g} s, or too much memory. Simplify it, or lower its "
                    "maximum numbers.",
                )
            size, *full = reply.split()
            if full:
                self._end()
        return CheckedGrammar(grammar, int(size))

    def close(self) -> None:
        """Ends the child; a check in progress fails."""
        if self._child is not None:
            self._child.kill()
        with self._lock:
            self._end()

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with suppress(BrokenPipeError):  # what it has not read
                child.communicate()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is not None:
            self._end()
        if self._child is None:
            self._child = subprocess.Popen(  # noqa: S603 - Silkline's own module
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            if not _pipes(self._child)[1].readline():
                raise InternalFault("The process that checks grammars did not start.")
        return self._child


def _pipes(child: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if child.stdin is None or child.stdout is None:
        raise InternalFault("The process that checks grammars has no pipes.")
    return child.stdin, child.stdout


def _main(tokenizer: str) -> None:
    """Compiles each grammar of stdin and writes its memory in bytes to stdout.

    Adds "full" when those that it has compiled take too much memory: its parent then ends it.
    """
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # libraries may print
    compiler = GrammarCompiler(genai.Tokenizer(tokenizer))
    compiler.compile('root ::= "a" [b-c]*\n')  # the first one makes the compiler
    own = psutil.Process()
    used = own.memory_info()
    limit = used.data + _MAX_GRAMMAR_BYTES + MAX_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    replies.write(b"ready\n")
    before = used.rss
    for line in sys.stdin.buffer:
        grammar = msgspec.json.decode(line, type=str)
        signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)  # ends this process
        compiler.compile(grammar)
        signal.setitimer(signal.ITIMER_PROF, 0)
        after = own.memory_info().rss
        full = b" full" if after - used.rss > MAX_BYTES else b""
        replies.write(b"%d%s\n" % (max(0, after - before), full))
        before = after


if __name__ == "__main__":
    _main(sys.argv[1])
