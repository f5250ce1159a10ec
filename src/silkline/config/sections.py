"""What can be set: each setting is declared here and nowhere else.

A field's name is its key in the file (under its section), its variable (`SILKLINE_` and the name
in capitals) and its flag (`--` and the name with dashes); names are therefore unique across the
sections.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from silkline.config.origins import browser_origins
from silkline.config.remotes import RemoteSettings

MIB = 1024 * 1024

_Positive = Annotated[float, Field(gt=0)]
_Share = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A frozen group of settings that refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class ServerSettings(Section):
    """Where the gateway listens and how it ends."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    request_timeout: float = Field(120.0, gt=0, description="Seconds a request may take in all.")
    lame_duck: float = Field(
        0.0,
        ge=0,
        description="Seconds after SIGTERM in which requests are still taken, while /ready already "
        "says 503.",
    )
    drain_timeout: int = Field(
        30, ge=0, description="Whole seconds that running requests get to end after that."
    )
    keep_alive_timeout: int = Field(
        75, ge=1, description="Whole seconds an idle connection is kept open."
    )
    head_timeout: float = Field(
        10.0, gt=0, description="Seconds a client may take to send a request's head."
    )
    body_timeout: float = Field(
        15.0, gt=0, description="Seconds its body may take, and one more for each 8 KiB."
    )
    write_timeout: float = Field(
        30.0, gt=0, description="Seconds a client may leave its answer unread."
    )
    max_connections: int = Field(
        1000, ge=1, description="Connections at once; fewer where fewer files may be open."
    )


class AuthSettings(Section):
    """Who may ask; see `docs/security.md`."""

    keys_file: str = Field(
        "",
        description="TOML file of the tenants and the digests of their keys; empty asks for none.",
    )
    allow_anyone: bool = Field(
        default=False,
        description="Whether anyone is answered on an address that others reach, without keys.",
    )
    cors_origins: Annotated[tuple[str, ...], AfterValidator(browser_origins)] = Field(
        (),
        description="Origins whose web pages may ask, such as https://app.example:8443; * allows "
        "every page, empty none but the server's own.",
    )


class LimitSettings(Section):
    """What may be asked for; checked before work is spent on it."""

    max_body_bytes: int = Field(32 * MIB, ge=1024, description="Bytes of a request's body.")
    max_held_body_bytes: int = Field(
        512 * MIB, ge=1024, description="Bytes that have come of the bodies of all open requests."
    )
    max_images: int = Field(16, ge=1, description="Pictures in a request.")
    max_image_bytes: int = Field(20 * MIB, ge=1024, description="Bytes of an encoded picture.")
    max_image_pixels: int = Field(50_000_000, ge=1, description="Pixels of a decoded picture.")
    max_request_pixels: int = Field(
        100_000_000, ge=1, description="Pixels of all pictures of a request together."
    )
    max_messages: int = Field(256, ge=1, description="Messages in a request.")
    max_inflight_bytes: int = Field(
        512 * MIB,
        ge=MIB,
        description="Bytes of fetched pictures held at once, by all requests; and of decoded ones.",
    )
    max_text_chars: int = Field(100_000, ge=1, description="Characters of text in a request.")
    max_answer_tokens: int = Field(
        4096, ge=1, description="Tokens of an answer; a request that asks for more gets these."
    )
    strict_base64: bool = Field(
        default=False,
        description="Whether Base64 with white space, in the URL-safe alphabet or without padding "
        "is refused.",
    )
    strict_fields: bool = Field(
        default=False,
        description="Whether a request is refused that has unknown fields, or asks for more tokens "
        "than there can be.",
    )


class FetchSettings(Section):
    """How pictures are fetched from URLs."""

    fetch_timeout: float = Field(10.0, gt=0, description="Seconds to fetch a picture in all.")
    max_redirects: int = Field(3, ge=0, le=20, description="Redirects that are followed.")
    fetch_ttl: int = Field(
        300, ge=0, description="Most seconds until a URL is fetched again; its origin may say less."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Host names that pictures may come from; empty allows every public host.",
    )
    private_hosts: tuple[str, ...] = Field(
        (),
        description="host:port pairs that may resolve to private addresses, named one by one.",
    )


class DecodeSettings(Section):
    """The child processes that decode pictures."""

    decode_processes: int = Field(2, ge=1, description="Child processes that decode pictures.")
    decode_timeout: float = Field(5.0, gt=0, description="Seconds to decode one picture.")
    decode_memory_bytes: int = Field(
        1024 * MIB, ge=256 * MIB, description="Address space of a decoding child."
    )
    identity_memory_bytes: int = Field(
        64 * MIB, ge=0, description="Memory to know pictures again without decoding, 1.2 KB each."
    )


class EngineSettings(Section):
    """What is served and by which engine."""

    model: str = Field(
        "silkline-mini",
        description="The bundled model's name, a folder with a model, or a hub id in the local "
        "cache.",
    )
    served_name: str = Field(
        "",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._:/-]{0,99})?$",
        description="Name that clients ask for: up to 100 of `A-Z a-z 0-9 . _ : / -`, a letter or "
        "digit first; empty takes the bundle's name, or the last part of `model` in ASCII.",
    )
    engine: str = Field(
        "auto", description="Engine by name; auto takes the best one here that can serve the model."
    )
    workers: int = Field(
        1, ge=1, le=64, description="Processes that each hold the model and compute."
    )
    max_batch: int = Field(16, ge=1, description="Requests that a worker computes together.")
    kv_cache_bytes: int = Field(
        0,
        ge=0,
        description="A worker's KV cache memory; 0 takes enough for `max_batch` requests of 4,096 "
        "tokens, a quarter of the free memory at most.",
    )
    threads: int = Field(
        0, ge=0, description="Threads that a worker computes with; 0 divides the cores among them."
    )
    hang_timeout: float = Field(
        30.0, gt=0, description="Seconds without progress after which a worker is replaced."
    )
    precision: Literal["int8", "fp16"] = Field(
        "int8",
        description="Weights of a model that is exported for the engine openvino: int8 or fp16.",
    )
    export_store: str = Field(
        "",
        description="Folder that keeps exported models; empty takes silkline/exports in the user's "
        "cache folder.",
    )
    engine_options: dict[str, str] = Field(
        default_factory=dict, description="Settings that only the chosen engine knows."
    )
    remotes: tuple[RemoteSettings, ...] = Field(
        (),
        description="Servers that compute: each a URL, or `URL name=value ...`, or a table; "
        "see `docs/remote.md`.",
    )


class CacheSettings(Section):
    """Where answers are kept, so that the same question about the same picture costs nothing."""

    cache_ttl: int = Field(
        3600, ge=0, description="Seconds an answer is good for; with 0 none is kept."
    )
    cache_memory_bytes: int = Field(
        64 * MIB, ge=0, description="Memory for answers in this process."
    )
    cache_disk: str = Field(
        "", description="File to keep answers in across restarts; empty keeps none."
    )
    cache_disk_bytes: int = Field(1024 * MIB, ge=MIB, description="Most bytes of that file.")
    cache_redis: str = Field(
        "", description="redis:// URL of a Redis that gateways share; empty uses none."
    )
    cache_objects: str = Field(
        "",
        description="s3:// or file:// URL of an object store or a folder; empty uses none.",
    )
    near_duplicates: bool = Field(
        default=False, description="Whether the answer to a similar picture will do."
    )
    near_distance: int = Field(
        2, ge=0, le=8, description="Bits of 64 in which the digests of similar pictures may differ."
    )
    near_sample: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of such answers that are computed all the same, and compared.",
    )


class IdempotencySettings(Section):
    """Where requests with an `Idempotency-Key` are remembered; see `docs/idempotency.md`."""

    idempotency_store: str = Field(
        "",
        description="File, or redis:// URL that gateways share; empty keeps keys in memory, "
        "until this gateway ends.",
    )


class AdmissionSettings(Section):
    """Who may go on to the engine, and when a request is refused."""

    max_queue: int = Field(
        256,
        ge=1,
        description="Requests that may be on their way to the engine before each tenant is held "
        "to its share of them; twice as many at most.",
    )
    slo: float = Field(
        0.0,
        ge=0,
        description="Seconds in which an answer should be whole; what would be later is refused "
        "early. 0 sets no aim but `request_timeout`.",
    )
    resolution_curve: dict[_Positive, _Share] = Field(
        {0.25: 0.75, 0.5: 0.5},
        description="Share of the pixel budget from a load on, the load being the predicted wait "
        "divided by `slo`; for engines whose image tokens follow the pixels. Empty turns it off.",
    )


class LogSettings(Section):
    """What is written about requests."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged: debug, info, warning or error."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto",
        description="json: one ECS line an event; text: for eyes; auto: text on a terminal.",
    )


class Settings(Section):
    """Everything that can be set."""

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    fetch: FetchSettings = FetchSettings()
    decode: DecodeSettings = DecodeSettings()
    engine: EngineSettings = EngineSettings()
    cache: CacheSettings = CacheSettings()
    idempotency: IdempotencySettings = IdempotencySettings()
    admission: AdmissionSettings = AdmissionSettings()
    log: LogSettings = LogSettings()
