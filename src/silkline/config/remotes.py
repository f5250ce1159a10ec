"""How a remote server is described in the settings: one entry of `remotes`.

An entry is a table, or text of the form `URL name=value ...`:

    [[engine.remotes]]
    url = "http://gpu1:8000"
    key_env = "VLLM_KEY"

    silkline up --engine remote --remotes "http://gpu1:8000 key_env=VLLM_KEY weight=2"

Keys never stand in the settings, so that no dump of them, no process list and no error shows one.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_API = "/v1"
_ENDPOINTS = ("/chat/completions", "/models")


def server_root(text: str) -> str:
    """The URL of an OpenAI-compatible server that its paths, `/v1` included, are put after.

    Taken are the server's own address, the base URL that clients take (`http://host/v1/`) and that
    of an endpoint (`http://host/v1/chat/completions`).

    Raises:
        ValueError: It is no http or https URL, or holds more than scheme, host, port and path.
    """
    parts = urlsplit(text.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected http://host:port or https://host:port")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(
            "expected no user, password, query or fragment; give a key by key_env or key_file"
        )
    _ = parts.port  # raises where it is no port
    path = parts.path.rstrip("/")
    for endpoint in _ENDPOINTS:
        if path.endswith(_API + endpoint):
            path = path.removesuffix(endpoint)
    return f"{parts.scheme}://{parts.netloc}{path.removesuffix(_API).rstrip('/')}"


class RemoteSettings(BaseModel):
    """An OpenAI-compatible server that computes answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    url: str = Field(description="http:// or https:// address; /v1 is added where it is missing.")
    name: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]{0,64}$", description="What metrics and logs call it."
    )
    model: str = Field("", description="Model to ask it for; empty takes the first that it lists.")
    key_env: str = Field("", description="Variable that holds its API key.")
    key_file: str = Field("", description="File that holds its API key.")
    weight: float = Field(1.0, gt=0, description="Its share of the requests.")
    limit: int = Field(64, ge=1, description="Requests that it gets at a time.")
    timeout: float = Field(
        60.0, gt=0, description="Seconds without a byte after which a request counts as lost."
    )
    revision: str = Field(
        "",
        pattern=r"^[!-~]{0,64}$",
        description="What it serves; a new one leaves cached answers behind.",
    )
    context_length: int | None = Field(
        None, ge=1, description="Tokens of prompt and answer; None asks it."
    )
    image_tokens: int | None = Field(
        None, ge=1, description="Most tokens that a picture takes; None asks it."
    )
    max_pixels: int | None = Field(
        None, ge=1, description="Pixels of a picture that are of use to its model."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Reads `URL name=value ...`."""
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
        """The base URL, up to `/v1`."""
        return server_root(value) + _API

    @model_validator(mode="after")
    def _one_key(self) -> RemoteSettings:
        if self.key_env and self.key_file:
            raise ValueError("expected at most one of key_env and key_file")
        return self
