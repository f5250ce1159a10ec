"""Stands in for `vllm serve` and `llama-server`: their flags, socket, paths and words.

python stand_in.py [trait ...] vllm serve FOLDER --uds SOCKET ...
python stand_in.py [trait ...] llama-server --model FILE --host SOCKET ...

It was written after the real ones (see `recorded` and docs/managed.md): flags are refused as there,
`/health` is open, `/v1` needs the key from the environment, vLLM's socket is there when it serves
and llama-server's answers 503 while it loads. A trait makes it fail in a way of theirs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2]))

from silkline.engines.base import EngineOptions  # noqa: E402
from silkline.engines.fake import create_engine  # noqa: E402
from tests.engines.managed.models import CHILD  # noqa: E402
from tests.engines.openai_server import (  # noqa: E402
    OpenAiServer,
    Received,
    Script,
    computed,
    whole,
)

LAST_WORDS = """Traceback (most recent call last):
  File 'x.py', line 1
(EngineCore pid=7) ERROR 11-22 18:11:26 [core.py:1] ValueError: the weights are torn
RuntimeError: Engine core initialization failed. See root cause above."""
TRAITS = {
    "slow", "deaf", "silent", "dies", "crashes", "chatty", "leaves-a-child", "stubborn", "hangs",
    "fails",
}  # fmt: skip
CONTEXT = 8192
LOAD = "/v1/load_lora_adapter"


class StandIn(OpenAiServer):
    """Adds to an OpenAI-compatible server what is the real ones' own."""

    key = ""
    called = "uvicorn"
    loading = False
    deaf = False

    async def _reply(
        self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        last = received.headers.get("connection") == "close"
        head = f"server: {self.called}\r\n" + ("connection: close\r\n" if last else "")
        told = cast("asyncio.StreamWriter", _Told(writer, head.encode()))
        if self.deaf:
            await asyncio.sleep(600)
        if self.loading:
            told.write(whole(503, {"error": {"message": "Loading model", "code": 503}}))
        elif received.path == "/health":
            told.write(whole(200, {"status": "ok"}))
        elif received.headers.get("authorization") != f"Bearer {self.key}":
            told.write(whole(401, {"error": "Unauthorized"}))
        elif received.path == LOAD:
            told.write(self._load(received.body))
        elif received.method == "POST" and received.body["model"] not in self._listed():
            told.write(whole(404, {"error": {"message": "The model does not exist.", "code": 404}}))
        else:
            await super()._reply(received, reader, told)
            last = last or (self.called == "llama.cpp" and received.method == "POST")
        if last:
            raise ConnectionError  # ended; llama.cpp does so unasked, too, and unannounced

    def _listed(self) -> set[str]:
        return {model["id"] for model in self.listing["data"]}

    def _load(self, wanted: dict[str, str]) -> bytes:
        """As vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING: an adapter is served from then on."""
        if os.environ.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING") != "1":
            return whole(404, {"detail": "Not Found"})
        if not (Path(wanted["lora_path"]) / "adapter_config.json").is_file():
            return whole(400, {"error": {"message": "No adapter found", "code": 400}})
        self.listing["data"].append({**self.listing["data"][0], "id": wanted["lora_name"]})
        return whole(200, {"status": "Success"})


class _Told:
    """A writer that puts more headers into a response."""

    def __init__(self, writer: asyncio.StreamWriter, head: bytes) -> None:
        self._writer = writer
        self._head = head
        self.drain = writer.drain

    def write(self, data: bytes) -> None:
        line, _, rest = data.partition(b"\r\n")
        self._writer.write(line + b"\r\n" + self._head + rest if self._head else data)
        self._head = b""


@dataclass(frozen=True)
class Plan:
    """What a stand-in was started with.

    Attributes:
        dialect: Of its stream, as `computed` knows it.
        socket: Where it listens.
        variable: What holds its key.
        model: Its entry in the listing.
        traits: In which way it fails.
        adapters: The names of its adapters.
    """

    dialect: str
    socket: str
    variable: str
    model: dict[str, Any]
    traits: set[str]
    adapters: tuple[str, ...] = ()


def main() -> None:
    words = sys.argv[1:]
    traits = set()
    while words[0] in TRAITS:
        traits.add(words.pop(0))
    plan = _vllm(words[1:], traits) if words[0] == "vllm" else _llama(words[1:], traits)
    if "dies" in traits:
        _say(LAST_WORDS)
        sys.exit(1)
    if "leaves-a-child" in traits:
        subprocess.Popen([sys.executable, "-c", CHILD])
    if "silent" in traits:
        time.sleep(600)
    if "stubborn" in traits:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "chatty" in traits:
        _say(f"my key is {os.environ[plan.variable]}")
    asyncio.run(_serve(plan))


def _vllm(words: list[str], traits: set[str]) -> Plan:
    parser = _parser("vllm serve", "vllm-0.32.0.txt")
    parser.add_argument("model_tag")
    assert words[0] == "serve"
    given = parser.parse_args(words[1:])
    assert (Path(given.model_tag) / "config.json").is_file()
    assert not given.trust_remote_code
    assert given.allowed_media_domains == "none.invalid"
    assert int(given.max_num_seqs) > 0
    model = {"id": given.served_model_name, "object": "model", "max_model_len": CONTEXT}
    _say("(APIServer pid=1) INFO 11-22 18:11:16 [api_utils.py:286] non-default args")
    assert not given.lora_modules or given.enable_lora
    modules = [each.split("=", 1) for each in given.lora_modules or ()]
    assert all((Path(folder) / "adapter_config.json").is_file() for _, folder in modules)
    names = tuple(name for name, _ in modules)
    return Plan("vllm", given.uds, "VLLM_API_KEY", model, traits, names)


def _llama(words: list[str], traits: set[str]) -> Plan:
    given = _parser("llama-server", "llama-server-0.3.36.txt").parse_args(words)
    assert Path(given.model).is_file()
    assert Path(given.mmproj).is_file()
    assert given.host.endswith(".sock")
    meta = {"n_ctx": CONTEXT, "n_ctx_train": 99999, "ftype": "F16"}
    model = {"id": given.alias, "object": "model", "owned_by": "llamacpp", "meta": meta}
    _say("0.00.001.032 I srv  llama_server: initializing ...")
    return Plan("llama", given.host, "LLAMA_API_KEY", model, traits)


async def _serve(plan: Plan) -> None:
    fake = create_engine(EngineOptions(extra={"token_seconds": "0.002"}))
    await fake.start()
    server = StandIn(_script(computed(fake, plan.dialect), plan.traits))
    server.called = "llama.cpp" if plan.dialect == "llama" else "uvicorn"
    server.key = os.environ[plan.variable]
    adapters = [{**plan.model, "id": name, "parent": plan.model["id"]} for name in plan.adapters]
    server.listing = {"object": "list", "data": [plan.model, *adapters]}
    server.script = _telling_adapters(server.script, plan.model["id"])
    server.loading = plan.dialect == "llama" and "slow" in plan.traits
    if "slow" in plan.traits and not server.loading:
        await asyncio.sleep(1.0)
    listener = await asyncio.start_unix_server(server.serve, plan.socket, limit=64 * 1024 * 1024)
    server.deaf = "deaf" in plan.traits
    if server.loading or server.deaf:
        await asyncio.sleep(1.0)
        server.loading = server.deaf = False
    _say("Application startup complete.")
    async with listener:
        await listener.serve_forever()


def _telling_adapters(script: Script, base: str) -> Script:
    """Answers with an adapter are others than the base's: those to a prompt with its name."""

    async def telling(received: Received) -> AsyncIterator[bytes]:
        name = received.body["model"].partition("@")[0]
        if received.body["model"] != base:
            said = {"role": "system", "content": f"as {name}"}
            received.body["messages"] = [said, *received.body["messages"]]
        async for piece in script(received):
            yield piece

    return telling


def _script(script: Script, traits: set[str]) -> Script:
    async def crashing(received: Received) -> AsyncIterator[bytes]:
        async for piece in script(received):
            yield piece
            _say("terminate called: Error: out of luck")
            os._exit(139)

    async def hanging(received: Received) -> AsyncIterator[bytes]:
        await asyncio.sleep(600)
        yield b""

    async def failing(received: Received) -> AsyncIterator[bytes]:
        if "poison" in str(received.body):
            yield whole(500, {"error": {"message": "no such thing in x.cpp", "code": 500}})
            return
        async for piece in script(received):
            yield piece

    if "crashes" in traits:
        return crashing
    if "fails" in traits:
        return failing
    return hanging if "hangs" in traits else script


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _parser(program: str, recorded: str) -> argparse.ArgumentParser:
    """Knows the flags that the real one was seen to know, and no others."""
    parser = argparse.ArgumentParser(prog=program, add_help=False)
    for line in (HERE / "recorded" / recorded).read_text().splitlines():
        plain = line.removesuffix(" VALUE")
        names = plain.split(", ")
        if plain != line:
            parser.add_argument(*names, nargs="+" if "--lora-modules" in names else None)
            continue
        refusals = [name for name in names if name.startswith("--no-")]
        agreements = [name for name in names if name not in refusals]
        if agreements:
            parser.add_argument(*agreements, action="store_true")
        if refusals:
            parser.add_argument(*refusals, action="store_true")
    return parser


if __name__ == "__main__":
    main()
