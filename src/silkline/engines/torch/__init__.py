"""The torch engine: continuous batching of any vision-language model that an adapter knows.

`create_engine` is its entry point; torch and transformers are imported only there.
"""

from __future__ import annotations

from silkline.engines.base import Engine, EngineOptions


def create_engine(options: EngineOptions) -> Engine:
    """Builds the engine for the model in `options.model`.

    Raises:
        ConfigError: There is no model folder, or an option is unknown.
        ModuleNotFoundError: torch or transformers is not installed.
    """
    from silkline.engines.torch.engine import TorchEngine  # noqa: PLC0415 - heavy

    return TorchEngine(options)
