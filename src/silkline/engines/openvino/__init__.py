"""The OpenVINO engine: continuous batching of vision-language models on CPUs.

`SPEC` is its entry point; OpenVINO is imported only in `create_engine`.

OpenVINO, when it is imported, and NNCF report to Google Analytics unless the user has opted out,
and keep an identity in the home directory. Both go without where the package that does so cannot
be imported, and here it cannot: who computes talks to nobody (docs/security.md).
"""

from __future__ import annotations

import sys

from silkline.config import EngineSettings
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.openvino.support import NAME, openvino_support
from silkline.engines.spec import EngineSpec, Export
from silkline.models.resolve import ModelLocation

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # how Python forbids it


def create_engine(options: EngineOptions) -> Engine:
    """Builds the engine for the bundle in `options.model`.

    Raises:
        ConfigError: There is no model folder, it is no bundle, or an option is unknown.
        ModuleNotFoundError: OpenVINO is not installed.
    """
    from silkline.engines.openvino.engine import OpenVinoEngine  # noqa: PLC0415 - heavy

    return OpenVinoEngine(options)


def plan_files(location: ModelLocation, settings: EngineSettings, digest: str) -> Export | None:
    """Plans the export of a model; None for a folder with OpenVINO IR, which is served as it is.

    Raises:
        ConfigError: The engine cannot serve the model.
        EnvironmentFault: OpenVINO is not installed.
    """
    from silkline.engines.openvino.export.plan import (  # noqa: PLC0415 - imports this package
        Precision,
        is_export,
        plan_export,
    )
    from silkline.engines.openvino.export.process import export_model  # noqa: PLC0415 - the same

    if is_export(location.folder):
        return None
    plan = plan_export(location, Precision(settings.precision), digest)
    return Export(
        plan.key, lambda store, on_progress: export_model(plan, store, on_progress).folder
    )


SPEC = EngineSpec(
    name=NAME,
    create=create_engine,
    install='pip install "silkline[openvino]"',
    libraries=("openvino_genai",),
    rank=1,
    gpu_rank=3,
    support=openvino_support,
    export=plan_files,
)
