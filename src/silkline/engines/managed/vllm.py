"""`vllm serve`: the flags that Silkline's settings become, and the flags that users must not set.

Flags as of vLLM 0.32; https://docs.vllm.ai/en/latest/cli/serve.html
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from silkline.core import Feature
from silkline.engines.accelerators import has_gpu
from silkline.engines.base import EngineOptions
from silkline.engines.managed.flags import CACHING, SAMPLING, check_flags, find_command, split
from silkline.engines.managed.model import ServedModel, read_transformers
from silkline.engines.managed.options import ManagedOptions
from silkline.engines.managed.plan import cache_bytes, check_room
from silkline.engines.managed.server import Server, model_folder
from silkline.engines.managed.vllm_parsers import (
    REASONING_FLAG,
    TOOL_FLAG,
    is_chosen,
    parser_flags,
)
from silkline.errors import ConfigError
from silkline.models.chat_template import read_chat_template

NO_DOMAIN = "none.invalid"
"""A domain that never resolves (RFC 6761); without a list of domains, vLLM fetches from any."""

_NOT_INHERITED = frozenset({"VLLM_CPU_KVCACHE_SPACE", "VLLM_DEBUG_LOG_API_SERVER_RESPONSE"})
"""Variables that are not inherited: the first overrides the cache flag, the second logs answers."""

_MIN_RANK = 16
"""Minimum rank of adapters that it has room for; it takes powers of two."""

_ADAPTERS_AT_ONCE = 8
"""Maximum adapters in one batch; each takes GPU memory of the largest rank."""

_PRECISION_FLAGS = ("--dtype", "--quantization", "-q")

_BY_SILKLINE = "Silkline sets it"
_SOCKET = "the server listens on a private socket"
_HTTP = "Silkline reaches the server over HTTP"
_IMAGES = "clients' images come only from Silkline"
_REFUSED = {
    "--trust-remote-code": "Silkline never runs code that comes with a model",
    "--api-key": "Silkline generates the key",
    "--host": _SOCKET,
    "--port": _SOCKET,
    "--uds": _SOCKET,
    "--grpc": _HTTP,
    "--headless": _HTTP,
    "--root-path": _HTTP,
    "--config": "give the flags in it instead of the file",
    "--load-format": "Silkline loads safetensors only; pickled weights can run code",
    "--generation-config": SAMPLING,
    "--override-generation-config": SAMPLING,
    "--limit-mm-per-prompt": _BY_SILKLINE,
    "--lora-modules": "serve each adapter as a model with `base` and `adapter`",
    "--no-disable-uvicorn-access-log": "Silkline logs requests itself",
    "--no-disable-fastapi-docs": _BY_SILKLINE,
    "--model": "give the model to Silkline",
    "--served-model-name": _BY_SILKLINE,
    "--max-num-seqs": "use the setting max_batch",
    "--kv-cache-memory-bytes": "use the setting kv_cache_bytes",
    "--max-model-len": "use the engine option context",
    **dict.fromkeys(("--enable-prefix-caching", "--no-enable-prefix-caching"), CACHING),
    "--allowed-local-media-path": _IMAGES,
    "--allowed-media-domains": _IMAGES,
    "--enable-log-requests": "clients' prompts are not logged",
    "--enable-log-outputs": "answers are not logged",
}


class VllmServer(Server):
    """A vLLM server on a folder with safetensors."""

    engine: ClassVar[str] = "vllm"

    def __init__(self, options: EngineOptions, own: ManagedOptions) -> None:
        """Reads the model's JSON files and finds the program.

        Raises:
            ConfigError: vLLM cannot load the folder, or an option is wrong.
            EnvironmentFault: vLLM is not installed.
        """
        super().__init__(options, own)
        self._flags = split("flags", own.flags)
        check_flags(self._flags, _REFUSED, abbreviated=True)
        self._folder = model_folder(options, self.engine)
        if not any(self._folder.glob("*.safetensors")):
            raise ConfigError(_without_safetensors(self._folder))
        self._model = read_transformers(self._folder, options)
        if any(word.startswith(_PRECISION_FLAGS) for word in self._flags):
            self._model = replace(self._model, precision=None)
        self._cache_bytes = self._cache()
        check_room(self._model, own, self._cache_bytes)
        self._program = find_command(own.command, "vllm", "pip install vllm")
        self._parsers = parser_flags(read_chat_template(self._folder), self._flags)

    @property
    def model(self) -> ServedModel:
        """See `Server`."""
        return self._model

    @property
    def features(self) -> frozenset[Feature]:
        """See `Server`: tools and reasoning only with a parser."""
        flags = [*self._parsers, *self._flags]
        lacking = {Feature.EXTRA}
        if not is_chosen(TOOL_FLAG, flags):
            lacking |= {Feature.TOOLS, Feature.STRICT_TOOLS}
        if not is_chosen(REASONING_FLAG, flags):
            lacking |= {Feature.THINKING, Feature.EFFORT}
        return frozenset(Feature) - lacking

    def command(self, socket: Path) -> list[str]:
        """See `Server`."""
        words = [*self._program, "serve", str(self._folder), "--uds", str(socket)]
        words += ["--served-model-name", self.served_name, "--load-format", "safetensors"]
        words += ["--max-num-seqs", str(self.options.max_batch)]
        words += ["--max-model-len", str(self.own.context or "auto")]
        if self._cache_bytes is not None:
            words += ["--kv-cache-memory-bytes", str(self._cache_bytes)]
        caching = (
            "--enable-prefix-caching" if self.own.prefix_cache else "--no-enable-prefix-caching"
        )
        words += [caching, "--generation-config", "vllm"]
        words += ["--limit-mm-per-prompt", json.dumps({"video": 0, "audio": 0})]
        words += ["--no-trust-remote-code", "--allowed-media-domains", NO_DOMAIN]
        words += ["--no-enable-log-requests", "--disable-uvicorn-access-log"]
        words += self._adapter_flags()
        return [*words, "--disable-fastapi-docs", *self._parsers, *self._flags]

    def _adapter_flags(self) -> list[str]:
        """The flags of the adapters that are known at the start; none if there are none."""
        adapters = self.options.adapters
        if not adapters:
            return []
        rank = max(_MIN_RANK, *(1 << (adapter.rank - 1).bit_length() for adapter in adapters))
        at_once = min(len(adapters), _ADAPTERS_AT_ONCE)
        words = ["--enable-lora", "--max-lora-rank", str(rank), "--max-loras", str(at_once)]
        words += ["--max-cpu-loras", str(len(adapters)), "--lora-modules"]
        return [*words, *(f"{adapter.name}={adapter.folder}" for adapter in adapters)]

    def variables(self, key: str) -> dict[str, str]:
        """See `Server`."""
        variables = {"VLLM_API_KEY": key, "VLLM_HOST_IP": "127.0.0.1", "HF_HUB_OFFLINE": "1"}
        variables |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}
        if self.options.adapters:  # those of later requests are loaded while it runs
            variables["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
        if threads := self.options.threads:
            variables |= {"OMP_NUM_THREADS": str(threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        return variables

    def inherits(self, variable: str) -> bool:
        """See `Server`."""
        return super().inherits(variable) and variable not in _NOT_INHERITED

    def _cache(self) -> int | None:
        """Bytes of the KV cache; None leaves it to vLLM, which uses the GPU's free memory."""
        if not self.options.kv_cache_bytes and has_gpu():
            return None
        weights = self._folder.glob("*.safetensors")
        return cache_bytes(self._model, self.own, self.options, weights)


def _without_safetensors(folder: Path) -> str:
    if any(folder.glob("*.gguf")):
        return f"The folder {folder} holds GGUF files. Serve it with the engine llamacpp."
    return (
        f"The folder {folder} holds no safetensors. Silkline gives vLLM no other weights, since "
        "pickled ones can run code. Convert them to safetensors."
    )
