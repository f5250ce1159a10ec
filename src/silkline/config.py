"""Settings: declared once here, read from `silkline.toml`, `SILKLINE_*` variables and flags.

A field's name is its key in the file (under its section), its variable (`SILKLINE_` and the name
in capitals) and its flag (`--` and the name with dashes); names are therefore unique across the
sections. Later sources win: defaults, file, environment, flags. Unknown names are refused, but for
the variables that Kubernetes sets in every container beside a Service called silkline
(https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from silkline.errors import ConfigError
from silkline.remotes import RemoteSettings

MIB = 1024 * 1024
VARIABLE_PREFIX = "SILKLINE_"
DEFAULT_FILE = "silkline.toml"

_Positive = Annotated[float, Field(gt=0)]
_Share = Annotated[float, Field(gt=0, le=1)]

_KUBERNETES = re.compile(
    r"""SILKLINE_(?:[A-Z0-9_]+_)?(?:  # of a Service called silkline, or silkline-something
        SERVICE_HOST=[0-9a-fA-F.:]+
      | SERVICE_PORT(?:_[A-Z0-9_]+)?=\d+
      | PORT(?:_\d+_(?:TCP|UDP|SCTP))?=(?:tcp|udp|sctp)://[0-9a-fA-F.:\[\]]+:\d+
      | PORT_\d+_(?:TCP|UDP|SCTP)_(?:PROTO=(?:tcp|udp|sctp)|PORT=\d+|ADDR=[0-9a-fA-F.:]+)
    )""",
    re.VERBOSE,
)


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
        False,
        description="Whether anyone is answered on an address that others reach, without keys.",
    )


class LimitSettings(Section):
    """What may be asked for; checked before work is spent on it."""

    max_body_bytes: int = Field(32 * MIB, ge=1024, description="Bytes of a request's body.")
    max_held_body_bytes: int = Field(
        512 * MIB, ge=1024, description="Bytes of the bodies of all requests that are open."
    )
    max_images: int = Field(16, ge=1, description="Pictures in a request.")
    max_image_bytes: int = Field(20 * MIB, ge=1024, description="Bytes of an encoded picture.")
    max_image_pixels: int = Field(50_000_000, ge=1, description="Pixels of a decoded picture.")
    max_request_pixels: int = Field(
        100_000_000, ge=1, description="Pixels of all pictures of a request together."
    )
    max_messages: int = Field(256, ge=1, description="Messages in a request.")
    max_inflight_bytes: int = Field(
        512 * MIB, ge=MIB, description="Bytes of fetched pictures held at once, by all requests."
    )
    max_text_chars: int = Field(100_000, ge=1, description="Characters of text in a request.")
    max_answer_tokens: int = Field(4096, ge=1, description="Tokens that a request may ask for.")


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
        "silkline-mini", description="The bundled model's name, or a folder with a model."
    )
    engine: str = Field("auto", description="Engine by name; auto picks by hardware.")
    workers: int = Field(
        1, ge=1, le=64, description="Processes that each hold the model and compute."
    )
    max_batch: int = Field(16, ge=1, description="Requests that a worker computes together.")
    kv_cache_bytes: int = Field(128 * MIB, ge=MIB, description="A worker's KV cache memory.")
    threads: int = Field(
        0, ge=0, description="Threads that a worker computes with; 0 divides the cores among them."
    )
    hang_timeout: float = Field(
        30.0, gt=0, description="Seconds without progress after which a worker is replaced."
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


class AdmissionSettings(Section):
    """Who may go on to the engine, and when a request is refused."""

    max_queue: int = Field(
        256, ge=1, description="Requests that may wait for the engine; more are refused."
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

    log_level: str = Field(
        "info", pattern="^(debug|info|warning|error)$", description="Least level that is logged."
    )
    log_format: str = Field(
        "auto",
        pattern="^(auto|json|text)$",
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
    admission: AdmissionSettings = AdmissionSettings()
    log: LogSettings = LogSettings()


def load_settings(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]
) -> Settings:
    """Reads the settings from all sources.

    Args:
        file: A TOML file; None stands for `silkline.toml` in the working folder, if there is one.
        environment: The variables; those that do not start with `SILKLINE_` are left alone, and
            so are those of Kubernetes.
        flags: Values by field name; those that are None were not given. A list or a table may
            come as text, as in a variable, a list also as several texts.

    Raises:
        ConfigError: A name is unknown (the nearest known one is named) or a value is wrong.
    """
    values = _from_file(file)
    sections = section_of_field()
    for name, text in environment.items():
        if name.startswith(VARIABLE_PREFIX) and not _KUBERNETES.fullmatch(f"{name}={text}"):
            field = name.removeprefix(VARIABLE_PREFIX).lower()
            _put(values, sections, field, text, source=f"variable {name}")
    for field, value in flags.items():
        if value is not None:
            _put(values, sections, field, value, source=_flag(field))
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def section_of_field() -> dict[str, str]:
    """Which section each field stands in; fields in the order of their declaration."""
    return {
        field: section
        for section, group in Settings.model_fields.items()
        for field in _fields(group)
    }


def field_info(field: str) -> FieldInfo:
    """The declaration of a field: its type, default and description."""
    return _fields(Settings.model_fields[section_of_field()[field]])[field]


def _fields(section: FieldInfo) -> dict[str, FieldInfo]:
    group = section.annotation
    if not (isinstance(group, type) and issubclass(group, Section)):
        raise TypeError(f"{group!r} is not a section of settings")
    return group.model_fields


def _from_file(file: Path | None) -> dict[str, dict[str, Any]]:
    path = file or Path(DEFAULT_FILE)
    if file is None and not path.is_file():
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The settings file {path} cannot be read: {error}") from error
    for section, group in values.items():
        known = _known(section, list(Settings.model_fields), f"section [{section}] in {path}")
        if not isinstance(group, dict):
            raise ConfigError(f"{known} in {path} is a section: write [{known}] above its keys.")
        for key in group:
            names = list(_fields(Settings.model_fields[known]))
            _known(key, names, f"key {key} in [{section}] of {path}")
    return values


def _put(
    values: dict[str, dict[str, Any]],
    sections: Mapping[str, str],
    field: str,
    value: Any,
    *,
    source: str,
) -> None:
    _known(field, list(sections), source)
    kind = get_origin(field_info(field).annotation)
    if kind is dict and isinstance(value, str):
        value = _table(value, source)
    elif kind is tuple:
        texts = (value,) if isinstance(value, str) else value
        value = tuple(item for text in texts for item in _list(text, source))
    values.setdefault(sections[field], {})[field] = value


def _list(text: str, source: str) -> Sequence[Any]:
    """`a, b` or a JSON list."""
    value = _json(text, source) if _is_json(text) else _parts(text)
    if not isinstance(value, list):
        raise ConfigError(f"The {source} holds {text!r}: expected a, b or a JSON list.")
    return value


def _table(text: str, source: str) -> Mapping[str, Any]:
    """`name=value, ...` or a JSON object."""
    if _is_json(text):
        value = _json(text, source)
    else:
        pairs = [part.partition("=") for part in _parts(text)]
        whole = all(name.strip() and separator for name, separator, _ in pairs)
        value = {name.strip(): what.strip() for name, _, what in pairs} if whole else None
    if not isinstance(value, dict):
        raise ConfigError(
            f"The {source} holds {text!r}: expected name=value, ... or a JSON object."
        )
    return value


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_json(text: str) -> bool:
    return text.lstrip().startswith(("[", "{"))


def _json(text: str, source: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"The {source} holds broken JSON: {error}") from error


def _known(name: str, names: list[str], source: str) -> str:
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]}?" if near else f" Known are: {', '.join(names)}."
    raise ConfigError(f"The {source} is unknown.{hint}")


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        section, *rest = (str(part) for part in problem["loc"])
        where = f"{'.'.join(rest)} in [{section}]" if rest else section
        lines.append(f"{where} is {problem['input']!r}: {problem['msg']}.")
    return "Settings are wrong: " + " ".join(lines)
