"""The OpenVINO engine: continuous batching of vision-language models on CPUs.

`create_engine` is its entry point; OpenVINO is imported only there.
"""

from __future__ import annotations

from silkline.engines.base import Engine, EngineOptions


def create_engine(options: EngineOptions) -> Engine:
    """Builds the engine for the bundle in `options.model`.

    Raises:
        ConfigError: There is no model folder, it is no bundle, or an option is unknown.
        ModuleNotFoundError: OpenVINO is not installed.
    """
    from silkline.engines.openvino.engine import OpenVinoEngine  # noqa: PLC0415 - heavy

    return OpenVinoEngine(options)
