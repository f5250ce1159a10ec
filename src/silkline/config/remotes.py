"""The settings of a remote server: one entry of `remotes`.

An entry is a table, or text of the form `URL name=value ...`:

    [[engine.remotes]]
    url = "http://gpu1:8000"
    key_env = "VLLM_KEY"

    silkline up --engine remote --remotes "http://gpu1:8000 key_env=VLLM_KEY weight=2"

Settings name where an API key is, never the key itself. So no settings dump, process list or
error message can show a key.
"""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from silkline.core import Feature

API = "/v1"
"""Path of the API, at the end of each URL."""
_ENDPOINTS = ("/chat/completions", "/models")


def server_root(text: str) -> str:
    """Returns the root URL of an OpenAI-compatible server, without `/v1`.

    Accepts the server's address, a client's base URL (`http://host/v1/`) and the URL of an
    endpoint (`http://host/v1/chat/completions`).

    Raises:
        ValueError: The text is not an http or https URL, or has more than scheme, host, port and
            path.
    """
    parts = urlsplit(text.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected http://host:port or https://host:port")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(
            "expected no user, password, query or fragment; pass a key with key_env or key_file"
        )
    _ = parts.port  # raises ValueError for an invalid port
    path = parts.path.rstrip("/")
    for endpoint in _ENDPOINTS:
        if path.endswith(API + endpoint):
            path = path.removesuffix(endpoint)
    return f"{parts.scheme}://{parts.netloc}{path.removesuffix(API).rstrip('/')}"


_SEPARATOR = "+"
"""Between the items of a list in the text form of an entry; commas separate entries."""


def _listed(value: Any) -> Any:
    """Parses `a+b`."""
    return tuple(filter(None, value.split(_SEPARATOR))) if isinstance(value, str) else value


_List = BeforeValidator(_listed)


class RemoteSettings(BaseModel):
    """An OpenAI-compatible server that computes answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    url: str = Field(description="http:// or https:// address; /v1 is added if it is missing.")
    name: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]{0,64}$", description="Name in metrics and logs."
    )
    model: str = Field("", description="Model to request; empty means the first that it lists.")
    key_env: str = Field("", description="Environment variable that holds the API key.")
    key_file: str = Field("", description="File that holds the API key.")
    weight: float = Field(1.0, gt=0, description="Relative share of the requests.")
    limit: int | None = Field(
        None,
        ge=1,
        description="Maximum requests in flight; None asks the server, and is 1024 if it does not "
        "tell.",
    )
    timeout: float = Field(
        60.0,
        gt=0,
        description="Seconds without a byte after which a request has failed; if its answer is not "
        "streamed, seconds without an answer to a probe.",
    )
    revision: str = Field(
        "",
        pattern=r"^[!-~]{0,64}$",
        description="Revision of the model; changing it invalidates cached answers.",
    )
    context_length: int | None = Field(
        None, ge=1, description="Maximum tokens of prompt and answer; None asks the server."
    )
    image_tokens: int | None = Field(
        None, ge=1, description="Maximum tokens of an image; None asks the server."
    )
    max_pixels: int | None = Field(
        None, ge=1, description="Maximum pixels of an image that the model can use."
    )
    image_files: bool = Field(
        default=True,
        description="Whether the server gets the client's JPEG or PNG file, with its metadata, "
        "where normalising would change no pixel; otherwise it gets all images as new PNG files.",
    )
    without: Annotated[tuple[Feature, ...], _List] = Field(
        (), description="Features that the server lacks, such as tools; requests need not try them."
    )
    pass_fields: Annotated[tuple[str, ...], _List] = Field(
        ("*",),
        description="Names of unknown request fields that the server gets; * matches any text. "
        "Fields with URLs, credentials, templates or costs need their exact name here.",
    )
    block_fields: Annotated[tuple[str, ...], _List] = Field(
        (), description="Names of unknown request fields that the server never gets."
    )

    @property
    def is_loopback(self) -> bool:
        """Whether the server runs on this machine, as far as its URL shows."""
        host = urlsplit(self.url).hostname or ""
        with suppress(ValueError):
            return ip_address(host).is_loopback
        return host == "localhost"

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Parses `URL name=value ...`."""
        if not isinstance(value, str):
            return value
        url, *rest = value.split() or [""]
        pairs = [part.partition("=") for part in rest]
        if not all(name and separator for name, separator, _ in pairs):
            raise ValueError("expected a URL, then name=value, separated by spaces")
        return {"url": url, **{name: text for name, _, text in pairs}}

    @field_validator("url")
    @classmethod
    def _base_url(cls, value: str) -> str:
        """Normalises the URL to the base URL, which ends with `/v1`."""
        return server_root(value) + API

    @model_validator(mode="after")
    def _one_key(self) -> RemoteSettings:
        if self.key_env and self.key_file:
            raise ValueError("expected at most one of key_env and key_file")
        return self

    def as_texts(self) -> dict[str, str]:
        """The settings that differ from their defaults, as in the text form of an entry."""
        return {
            name: _SEPARATOR.join(value) if isinstance(value, tuple) else str(value)
            for name, value in self.model_dump(exclude_defaults=True).items()
        }
