"""Where the workers of a model run: on this machine, or on a Ray cluster; see `docs/ray.md`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

_Amount = Annotated[float, Field(gt=0)]


class RaySettings(BaseModel):
    """Where workers run; a part of the settings of each model."""

    on: Literal["machine", "ray"] = Field(
        "machine",
        description="Where the workers run: on this machine, or as replicas of Ray Serve on a Ray "
        "cluster; see `docs/ray.md`.",
    )
    ray_address: str = Field(
        "",
        description="The Ray cluster: host:port of its head, or auto for the one that this machine "
        "is a node of; empty starts a cluster of this machine alone.",
    )
    max_workers: int = Field(
        0,
        ge=0,
        le=1000,
        description="Maximum workers on Ray, which adds workers while requests wait and removes "
        "them later; 0 means `workers`.",
    )
    worker_resources: dict[str, _Amount] = Field(
        default_factory=dict,
        description="What a worker takes of a node of Ray, such as CPU=4,GPU=1; one CPU if it "
        "names none.",
    )
