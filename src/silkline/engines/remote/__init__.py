"""An OpenAI-compatible server (vLLM, SGLang, llama-server, another Silkline) in an engine's shape.

It runs in the gateway's own process: it only waits for the network. `link` is its only way out.
"""

from __future__ import annotations

import os

from pydantic import ValidationError

from silkline.config import RemoteSettings
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.remote.engine import RemoteEngine
from silkline.engines.remote.key import read_key
from silkline.engines.remote.listing import ENGINE
from silkline.engines.remote.support import remote_support
from silkline.engines.spec import EngineSpec
from silkline.errors import ConfigError


def create_engine(options: EngineOptions) -> Engine:
    """Builds the engine for one server, which `options.extra` describes as an entry of `remotes`.

    Raises:
        ConfigError: It is described wrongly, or its key is not where it should be.
    """
    try:
        settings = RemoteSettings.model_validate(dict(options.extra))
    except ValidationError as error:
        known = ", ".join(RemoteSettings.model_fields)
        wrong = ", ".join(str(problem["loc"][0]) for problem in error.errors() if problem["loc"])
        raise ConfigError(
            f"The remote engine's options are wrong{f' ({wrong})' if wrong else ''}. "
            f"Known are: {known}."
        ) from error
    return RemoteEngine(settings, read_key(settings, os.environ))


SPEC = EngineSpec(
    name=ENGINE,
    create=create_engine,
    needs_model=False,
    support=remote_support,
    adapters="names",
)
