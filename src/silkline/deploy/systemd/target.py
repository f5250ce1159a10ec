"""The files of the targets `systemd` and `jetson`."""

from __future__ import annotations

import math

from silkline.config import Settings
from silkline.deploy.documents import from_template
from silkline.deploy.target import Files, Target

_PACKAGE = "silkline.deploy.systemd"
_END_SECONDS = 10
_NVIDIA = ("char-nvidia-frontend", "char-nvidia-uvm", "/dev/nvidiactl")
_TEGRA = ("/dev/nvmap", "char-nvhost", "char-nvgpu", "/dev/nvgpu/igpu0")
_JETSON_BATCH = 4


def _unit(settings: Settings, target: str, devices: tuple[str, ...]) -> str:
    deploy, server = settings.deploy, settings.server
    return from_template(
        _PACKAGE,
        "silkline.service.jinja",
        target=target,
        jetson=target == "jetson",
        gpu=bool(devices),
        devices=devices,
        stop_seconds=math.ceil(server.lame_duck + server.drain_timeout) + _END_SECONDS,
        memory_bytes=deploy.gateway_memory_bytes
        + settings.engine.workers * deploy.engine_memory_bytes,
    )


def _systemd(settings: Settings) -> Files:
    devices = _NVIDIA if settings.deploy.accelerator == "nvidia" else ()
    return {"silkline.service": _unit(settings, "systemd", devices)}


def _jetson(settings: Settings) -> Files:
    batch = min(settings.engine.max_batch, _JETSON_BATCH)
    model = settings.engine.model
    return {
        "silkline.service": _unit(settings, "jetson", _TEGRA),
        "silkline.toml": from_template(_PACKAGE, "jetson.toml.jinja", model=model, max_batch=batch),
    }


SYSTEMD = Target("systemd", "a sandboxed unit of a server on one machine", _systemd)
JETSON = Target("jetson", "the same for a Jetson, with settings to start from (not run)", _jetson)
