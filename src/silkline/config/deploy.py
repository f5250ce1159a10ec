"""Settings of a deployment on one or more machines, which `silkline render` writes.

An upstream is a table, or text of the form `HOST:PORT name=value ...`:

    [deploy]
    upstreams = ["10.0.0.1:8000 weight=3", "10.0.0.2:8000 weight=2", "10.0.0.3:8000"]
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from silkline.config.sections import Section

GIB = 1024**3

_Name = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")]
_HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")]
_Path = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._/-]*)?$")]
_Image = Annotated[str, Field(pattern=r"^[a-z0-9][A-Za-z0-9._/:@-]{0,254}$")]
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")
_MAX_PORT = 65535

ScalingMetric = Literal["backlog", "saturation", "busy", "cpu"]
"""What replicas are scaled on: seconds of queued work, or a ratio."""


def _network(text: str) -> str:
    return str(ip_network(text))


Network = Annotated[str, AfterValidator(_network)]
"""A network such as 10.0.0.0/8, or one address."""


class UpstreamSettings(BaseModel):
    """A server that a load balancer sends requests to."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    address: str = Field(description="host:port, or [IPv6 address]:port.")
    weight: int = Field(1, ge=1, le=256, description="Relative share of the requests.")

    @property
    def host(self) -> str:
        """The host of the address, without brackets."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port of the address."""
        return int(self.address.rpartition(":")[2])

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Parses `HOST:PORT name=value ...`."""
        if not isinstance(value, str):
            return value
        address, *rest = value.split() or [""]
        pairs = [part.partition("=") for part in rest]
        if not all(name and separator for name, separator, _ in pairs):
            raise ValueError("expected host:port, then name=value, separated by spaces")
        return {"address": address, **{name: text for name, _, text in pairs}}

    @field_validator("address")
    @classmethod
    def _has_a_port(cls, value: str) -> str:
        found = _ADDRESS.fullmatch(value)
        if not found or not 0 < int(found[2]) <= _MAX_PORT:
            raise ValueError("expected host:port, or [IPv6 address]:port")
        return value


class DeploySettings(Section):
    """What `silkline render` writes for one or more machines; see `docs/deploy.md`.

    Gateways answer clients. Engines are servers of their own with the model, which the gateways
    reach as remote servers.
    """

    deployment: _Name = Field(
        "silkline", description="Name of the deployment, with which the names of its parts start."
    )
    image: _Image = Field(
        "silkline:0.1.0",
        description="Container image of gateways and engines, with its tag or digest.",
    )
    gateway_replicas: int = Field(
        2, ge=1, le=1000, description="Gateways; the minimum where their number is scaled."
    )
    gateway_cpu: float = Field(1.0, gt=0, le=1024, description="Cores of a gateway.")
    gateway_memory_bytes: int = Field(
        2 * GIB, ge=GIB // 2, description="Maximum memory of a gateway."
    )
    engine_replicas: int = Field(
        2, ge=1, le=1000, description="Engines; the minimum where their number is scaled."
    )
    engine_cpu: float = Field(2.0, gt=0, le=1024, description="Cores of an engine.")
    engine_memory_bytes: int = Field(
        4 * GIB, ge=GIB // 2, description="Maximum memory of an engine."
    )
    accelerator: Literal["none", "nvidia", "tpu"] = Field(
        "none", description="Accelerator of the engines; none computes on the processor."
    )
    accelerator_count: int = Field(1, ge=1, le=16, description="Accelerators of an engine.")
    accelerator_product: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,63}$",
        description="Product of the accelerator, as the labels of nodes name it, such as "
        "NVIDIA-L4 or tpu-v6e-slice; empty accepts any.",
    )
    autoscale: dict[ScalingMetric, Annotated[float, Field(gt=0)]] = Field(
        {"backlog": 2.0, "saturation": 0.8},
        description="Metrics on which replicas are scaled, and the target of each: backlog "
        "(seconds of queued work), saturation, busy and cpu (ratios). The metric that asks for the "
        "most replicas decides. Empty keeps their number fixed.",
    )
    max_gateway_replicas: int = Field(
        10, ge=1, le=1000, description="Maximum gateways where their number is scaled."
    )
    max_engine_replicas: int = Field(
        10, ge=1, le=1000, description="Maximum engines where their number is scaled."
    )
    scale_to_zero: bool = Field(
        default=False, description="Stop the last engine too when no request has come for a while."
    )
    scale_down_seconds: int = Field(
        300, ge=0, le=3600, description="Seconds that load must be lower before replicas stop."
    )
    upstreams: tuple[UpstreamSettings, ...] = Field(
        (),
        description="Gateways that a load balancer sends requests to: each HOST:PORT, `HOST:PORT "
        "weight=N` or a table; empty means `host` and `port`.",
    )
    own_stores: tuple[Literal["redis", "objects"], ...] = Field(
        ("redis",),
        description="Stores that are part of the deployment and that its gateways share. Stores of "
        "others are named in `cache_redis`, `idempotency_store` and `cache_objects`.",
    )
    ingress_host: _HostName = Field(
        "silkline.example", description="Host name under which clients reach the deployment."
    )
    ingress_port: int = Field(
        8080, ge=1, le=65535, description="Port on which a load balancer listens for clients."
    )
    ingress_class: str = Field(
        "nginx",
        pattern=r"^[a-z0-9.-]{1,63}$",
        description="Class of the ingress in Kubernetes.",
    )
    tls_secret: str = Field(
        "",
        pattern=r"^[a-z0-9.-]{0,253}$",
        description="Secret with the certificate in Kubernetes; empty means no TLS there.",
    )
    tls_certificate: _Path = Field(
        "",
        description="File with the load balancer's certificate chain; empty means no TLS.",
    )
    tls_key: _Path = Field("", description="File with the key of that certificate.")
    trusted_proxies: tuple[Network, ...] = Field(
        (),
        description="Networks of the proxies in front of the load balancer, whose X-Forwarded-For "
        "is believed; empty believes none.",
    )
    client_rate: float = Field(
        20.0,
        ge=0,
        le=1_000_000,
        description="Requests per second that a load balancer lets one client address send; 0 sets "
        "no limit.",
    )
    client_burst: int = Field(
        100, ge=0, le=1_000_000, description="Requests beyond that rate that it still lets through."
    )
    client_connections: int = Field(
        100, ge=0, le=1_000_000, description="Connections of one client address; 0 sets no limit."
    )

    @model_validator(mode="after")
    def _consistent(self) -> DeploySettings:
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("expected both tls_certificate and tls_key, or neither")
        for part in ("gateway", "engine"):
            fewest, limit = getattr(self, f"{part}_replicas"), getattr(self, f"max_{part}_replicas")
            if self.autoscale and limit < fewest:
                raise ValueError(
                    f"max_{part}_replicas is {limit}, less than {part}_replicas, which is {fewest}"
                )
        addresses = [upstream.address for upstream in self.upstreams]
        if len(set(addresses)) < len(addresses):
            raise ValueError("the upstreams name an address twice; give each one weight")
        return self
