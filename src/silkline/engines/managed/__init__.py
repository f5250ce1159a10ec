"""vLLM and llama.cpp as engines: their server is started, supervised and asked by the worker.

A managed engine lives in a worker as any engine does. It starts `vllm serve` or `llama-server` on a
unix socket that only its own user can reach, waits until it serves, and asks it as `remote` would.
"""

from __future__ import annotations

from collections.abc import Callable

from silkline.engines.base import Engine, EngineOptions
from silkline.engines.extra_options import read_extra
from silkline.engines.managed.options import ManagedOptions
from silkline.engines.managed.support import LLAMACPP, VLLM, llamacpp_support, vllm_support
from silkline.engines.spec import EngineSpec

_REPORT_SECONDS = 30.0


def create_vllm(options: EngineOptions) -> Engine:
    """Builds the engine that runs `vllm serve` on a folder with safetensors.

    Raises:
        ConfigError: The folder is none that vLLM loads, or an option is wrong.
        EnvironmentFault: vLLM is not installed.
    """
    from silkline.engines.managed.engine import ManagedEngine  # noqa: PLC0415 - heavy
    from silkline.engines.managed.vllm import VllmServer  # noqa: PLC0415 - heavy

    return ManagedEngine(VllmServer(options, read_extra(options.extra, ManagedOptions, VLLM)))


def create_llamacpp(options: EngineOptions) -> Engine:
    """Builds the engine that runs `llama-server` on a folder with GGUF files.

    Raises:
        ConfigError: The folder has none, or an option is wrong.
        EnvironmentFault: llama.cpp is not installed.
    """
    from silkline.engines.managed.engine import ManagedEngine  # noqa: PLC0415 - heavy
    from silkline.engines.managed.llamacpp import LlamaServer  # noqa: PLC0415 - heavy

    return ManagedEngine(LlamaServer(options, read_extra(options.extra, ManagedOptions, LLAMACPP)))


def _start_seconds(engine: str) -> Callable[[EngineOptions], float]:
    """How long a worker may take to start.

    A server may compile and measure for minutes. Its engine holds the deadline itself and reports
    the server's last words, so the worker's own deadline comes after it.
    """

    def seconds(options: EngineOptions) -> float:
        return read_extra(options.extra, ManagedOptions, engine).start_seconds + _REPORT_SECONDS

    return seconds


VLLM_SPEC = EngineSpec(
    name=VLLM,
    create=create_vllm,
    install="pip install vllm",
    libraries=("vllm",),
    gpu_rank=1,
    support=vllm_support,
    adapters="folders",
    start_seconds=_start_seconds(VLLM),
)

LLAMACPP_SPEC = EngineSpec(
    name=LLAMACPP,
    create=create_llamacpp,
    support=llamacpp_support,
    start_seconds=_start_seconds(LLAMACPP),
)
