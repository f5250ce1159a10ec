"""The OpenVINO engine: continuous batching of vision-language models on CPUs.

`create_engine` is its entry point; OpenVINO is imported only there.

OpenVINO, when it is imported, and NNCF report to Google Analytics unless the user has opted out,
and keep an identity in the home directory. Both go without where the package that does so cannot
be imported, and here it cannot: who computes talks to nobody (docs/security.md).
"""

from __future__ import annotations

import sys

from silkline.engines.base import Engine, EngineOptions

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # how Python forbids it


def create_engine(options: EngineOptions) -> Engine:
    """Builds the engine for the bundle in `options.model`.

    Raises:
        ConfigError: There is no model folder, it is no bundle, or an option is unknown.
        ModuleNotFoundError: OpenVINO is not installed.
    """
    from silkline.engines.openvino.engine import OpenVinoEngine  # noqa: PLC0415 - heavy

    return OpenVinoEngine(options)
