"""The torch engine: continuous batching of any vision-language model that an adapter knows.

`SPEC` is its entry point; torch and transformers are imported only in `create_engine`.
"""

from __future__ import annotations

from silkline.engines.base import Engine, EngineOptions
from silkline.engines.spec import EngineSpec
from silkline.engines.torch.support import NAME, torch_support


def create_engine(options: EngineOptions) -> Engine:
    """Builds the engine for the model in `options.model`.

    Raises:
        ConfigError: There is no model folder, or an option is unknown.
        ModuleNotFoundError: torch or transformers is not installed.
    """
    from silkline.engines.torch.engine import TorchEngine  # noqa: PLC0415 - heavy

    return TorchEngine(options)


SPEC = EngineSpec(
    name=NAME,
    create=create_engine,
    install='pip install "silkline[torch]"',
    libraries=("torch",),
    rank=2,
    gpu_rank=2,
    support=torch_support,
    adapters="folders",
)
