"""All settings: each is declared here and nowhere else.

A field's name is its key in the file (under its section), its environment variable (`SILKLINE_`
and the name in capitals) and its flag (`--` and the name with dashes). Names are therefore unique
across the sections.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from silkline.config.origins import browser_origins
from silkline.config.ray import RaySettings
from silkline.config.remotes import RemoteSettings

MIB = 1024 * 1024

_Positive = Annotated[float, Field(gt=0)]
_Share = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A frozen group of settings that refuses unknown names."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, ser_json_inf_nan="constants"
    )


class ServerSettings(Section):
    """Listening, timeouts, connections and shutdown of the gateway."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free port.")
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Gateway processes that share the port and the workers; see "
        "`docs/processes.md`. Limits of memory, connections and the queue are divided between "
        "them.",
    )
    request_timeout: float = Field(120.0, gt=0, description="Maximum seconds for a whole request.")
    lame_duck: float = Field(
        0.0,
        ge=0,
        description="Seconds after SIGTERM during which requests are still accepted, while /ready "
        "already returns 503.",
    )
    drain_timeout: int = Field(
        30, ge=0, description="Whole seconds that running requests then have to finish."
    )
    keep_alive_timeout: int = Field(
        75, ge=1, description="Whole seconds an idle connection is kept open."
    )
    head_timeout: float = Field(
        10.0, gt=0, description="Maximum seconds for a client to send a request's headers."
    )
    body_timeout: float = Field(
        15.0,
        gt=0,
        description="Maximum seconds for a client to send a body, plus one for each 8 KiB.",
    )
    write_timeout: float = Field(
        30.0, gt=0, description="Maximum seconds that a client may stop reading its answer."
    )
    max_connections: int = Field(
        1000,
        ge=1,
        description="Maximum open connections; fewer if the limit on open files is lower.",
    )


class AuthSettings(Section):
    """API keys and allowed web origins; see `docs/security.md`."""

    keys_file: str = Field(
        "",
        description="TOML file with the tenants and the digests of their keys; empty means that no "
        "key is required.",
    )
    allow_anyone: bool = Field(
        default=False,
        description="Allow listening on a non-loopback address without API keys.",
    )
    cors_origins: Annotated[tuple[str, ...], AfterValidator(browser_origins)] = Field(
        (),
        description="Origins whose web pages may send requests, such as https://app.example:8443; "
        "* allows all, empty only the server's own.",
    )


class LimitSettings(Section):
    """Maximum sizes of requests, checked before any work is done."""

    max_body_bytes: int = Field(32 * MIB, ge=1024, description="Maximum bytes of a request's body.")
    max_held_body_bytes: int = Field(
        512 * MIB,
        ge=1024,
        description="Maximum bytes of received bodies in memory, over all open requests.",
    )
    max_images: int = Field(
        16, ge=1, description="Maximum images in a request; each page of a document is one."
    )
    max_image_bytes: int = Field(
        20 * MIB, ge=1024, description="Maximum bytes of an encoded image or a document."
    )
    max_image_pixels: int = Field(
        50_000_000, ge=1, description="Maximum pixels of a decoded image."
    )
    max_request_pixels: int = Field(
        100_000_000, ge=1, description="Maximum pixels of all images in a request together."
    )
    max_messages: int = Field(256, ge=1, description="Maximum messages in a request.")
    max_inflight_bytes: int = Field(
        512 * MIB,
        ge=MIB,
        description="Maximum bytes of fetched images in memory, over all requests; the same again "
        "for decoded images.",
    )
    max_text_chars: int = Field(
        100_000, ge=1, description="Maximum characters of text in a request."
    )
    max_answer_tokens: int = Field(
        4096, ge=1, description="Maximum tokens of an answer; a larger max_tokens is reduced to it."
    )
    strict_base64: bool = Field(
        default=False,
        description="Refuse Base64 that has white space, uses the URL-safe alphabet or lacks "
        "padding.",
    )
    strict_fields: bool = Field(
        default=False,
        description="Refuse requests with unknown fields, or with a max_tokens above the maximum.",
    )


class FetchSettings(Section):
    """Fetching of images from URLs."""

    fetch_timeout: float = Field(10.0, gt=0, description="Maximum seconds to fetch an image.")
    max_redirects: int = Field(3, ge=0, le=20, description="Maximum redirects to follow.")
    fetch_ttl: int = Field(
        300,
        ge=0,
        description="Maximum seconds that a fetched image is reused; its origin may set less.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Host names that images may come from; empty allows every public host.",
    )
    private_hosts: tuple[str, ...] = Field(
        (),
        description="host:port pairs that may resolve to private addresses; no wildcards.",
    )


class DecodeSettings(Section):
    """The child processes that decode images and render documents."""

    decode_processes: int = Field(
        2,
        ge=1,
        description="Child processes that decode images; documents get as many more when needed.",
    )
    decode_timeout: float = Field(
        5.0, gt=0, description="Maximum seconds to decode an image, or a page of a document."
    )
    decode_memory_bytes: int = Field(
        1024 * MIB, ge=256 * MIB, description="Maximum address space of a decoding process."
    )
    document_dpi: int = Field(
        144,
        ge=18,
        le=1200,
        description="Maximum dots per inch of the pages of PDF documents; the pixel budget may "
        "reduce them further.",
    )
    identity_memory_bytes: int = Field(
        64 * MIB,
        ge=0,
        description="Memory to recognise known images without decoding them, 1.2 KB each.",
    )


class EngineSettings(Section, RaySettings):
    """The model and the engine that serves it."""

    model: str = Field(
        "silkline-mini",
        description="Name of the bundled model, a folder with a model, or a hub id in the local "
        "cache.",
    )
    served_name: str = Field(
        "",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._:/-]{0,99})?$",
        description="Model name in the API: up to 100 of `A-Z a-z 0-9 . _ : / -`, starting with a "
        "letter or digit; empty means the bundle's name, or the last part of `model` in ASCII.",
    )
    engine: str = Field(
        "auto",
        description="Name of the engine; auto picks the best installed one that can serve the "
        "model.",
    )
    workers: int = Field(1, ge=1, le=64, description="Workers; each loads the model.")
    max_batch: int = Field(16, ge=1, description="Maximum requests in a worker's batch.")
    kv_cache_bytes: int = Field(
        0,
        ge=0,
        description="Memory for a worker's KV cache; 0 means enough for `max_batch` requests of "
        "4,096 tokens, but at most a quarter of the free memory.",
    )
    threads: int = Field(
        0, ge=0, description="Threads of a worker; 0 divides the cores between the workers."
    )
    hang_timeout: float = Field(
        30.0, gt=0, description="Seconds without progress after which a worker is replaced."
    )
    precision: Literal["int8", "fp16"] = Field(
        "int8",
        description="Weights of a model exported for the engine openvino: int8 or fp16.",
    )
    ungated: bool = Field(
        default=False,
        description="Serve a bundle that did not pass its gate, or that was made from another one "
        "and has no gate; see `docs/gate.md`.",
    )
    gated_elsewhere: Literal["warn", "refuse"] = Field(
        "warn",
        description="What to do with a bundle that was gated on another kind of processor or GPU, "
        "or with other engine options.",
    )
    sampling_defaults: Literal["greedy", "model"] = Field(
        "greedy",
        description="Sampling of requests that do not name a parameter: greedy decoding, or what "
        "the model's generation_config.json recommends.",
    )
    export_store: str = Field(
        "",
        description="Folder of exported models; empty means silkline/exports in the user's cache "
        "folder.",
    )
    trust: Literal["decoded", "header"] = Field(
        "decoded",
        description="What is checked of an image file that remote servers get as it is: decoded "
        "decodes it once, header reads its header only; see `docs/security.md`.",
    )
    engine_options: dict[str, str] = Field(
        default_factory=dict, description="Options specific to the chosen engine."
    )
    remotes: tuple[RemoteSettings, ...] = Field(
        (),
        description="Remote servers for the engine remote: each a URL, `URL name=value ...` or a "
        "table; see `docs/remote.md`.",
    )


class CacheSettings(Section):
    """The answer cache: repeated questions about the same image are not computed again."""

    cache_ttl: int = Field(
        3600, ge=0, description="Seconds that an answer is cached; 0 turns the cache off."
    )
    cache_memory_bytes: int = Field(
        64 * MIB, ge=0, description="Maximum memory for answers in this process."
    )
    cache_disk: str = Field(
        "", description="File that keeps answers across restarts; empty means no file."
    )
    cache_disk_bytes: int = Field(1024 * MIB, ge=MIB, description="Maximum bytes of that file.")
    cache_redis: str = Field(
        "", description="redis:// URL of a Redis that gateways share; empty means no Redis."
    )
    cache_objects: str = Field(
        "",
        description="s3:// or file:// URL of an object store or a folder; empty means none.",
    )
    near_duplicates: bool = Field(
        default=False, description="Reuse the answer about a near duplicate of the image."
    )
    near_distance: int = Field(
        2,
        ge=0,
        le=8,
        description="Maximum bits of 64 in which the perceptual digests of near duplicates differ.",
    )
    near_sample: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of these answers that are also computed, to compare them.",
    )


class IdempotencySettings(Section):
    """The store for requests with an `Idempotency-Key`; see `docs/idempotency.md`."""

    idempotency_store: str = Field(
        "",
        description="File, or redis:// URL that gateways share; empty keeps keys in memory until "
        "this gateway stops.",
    )


class ResponseSettings(Section):
    """Stored responses of `/v1/responses`, for `previous_response_id`; see `docs/api.md`."""

    response_store: Literal["never", "on_request", "by_default"] = Field(
        "on_request",
        description="When responses are stored: never, on_request (with `store: true`) or "
        "by_default (without `store: false`).",
    )
    response_file: str = Field(
        "", description="File that keeps responses across restarts; empty keeps them in memory."
    )
    response_ttl: int = Field(
        30 * 24 * 3600, ge=1, description="Seconds that a response is stored."
    )
    response_count: int = Field(10_000, ge=1, description="Maximum stored responses.")
    response_bytes: int = Field(
        256 * MIB, ge=MIB, description="Maximum bytes of all stored responses and their input."
    )


class HistorySettings(Section):
    """The request history: what happened to each request; see `docs/requests.md`."""

    history_file: str = Field(
        "", description="File that keeps the history across restarts; empty keeps it in memory."
    )
    history_count: int = Field(
        10_000, ge=0, description="Maximum requests in the history; 0 turns it off."
    )
    history_ttl: int = Field(
        7 * 24 * 3600, ge=1, description="Seconds that a request stays in the history."
    )
    history_content: dict[str, Annotated[int, Field(ge=1, le=366 * 24 * 3600)]] = Field(
        default_factory=dict,
        description="Tenants whose images, prompts and answers are kept too: maps a tenant to the "
        "seconds that they are kept. `anyone` is the tenant of a server without keys.",
    )
    history_content_bytes: int = Field(
        256 * MIB, ge=MIB, description="Maximum bytes of these images, prompts and answers."
    )


class AdmissionSettings(Section):
    """Admission control: when requests wait and when they are refused."""

    max_queue: int = Field(
        256,
        ge=1,
        description="Requests waiting for or running on the engine before each tenant is limited "
        "to its share; at most twice as many.",
    )
    limits_redis: str = Field(
        "",
        description="redis:// URL of a Redis through which gateways share the rate limits of "
        "tenants; empty means that each gateway enforces them alone.",
    )
    slo: float = Field(
        0.0,
        ge=0,
        description="Target seconds for a complete answer; requests that would miss it are refused "
        "early. 0 means no target other than `request_timeout`.",
    )
    resolution_curve: dict[_Positive, _Share] = Field(
        {0.25: 0.75, 0.5: 0.5},
        description="Reduces images under load: maps a load (predicted wait divided by `slo`) to "
        "the share of the pixel budget used from that load on. Only for engines whose image tokens "
        "depend on the image's size. Empty turns it off.",
    )
