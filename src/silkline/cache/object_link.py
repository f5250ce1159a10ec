"""Opens an object store from its URL.

The `obstore` library is an optional extra; it is imported only when a URL is used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from silkline.errors import ConfigError, EnvironmentFault

if TYPE_CHECKING:
    from obstore.store import ClientConfig, LocalStore, S3Config, S3Store

    Store: TypeAlias = LocalStore | S3Store

FORMS = "s3://bucket/prefix?endpoint=https://host:port&region=name, or file:///folder"

FOLDER = "answers"
"""The folder of the cache's objects, below the prefix or the folder of the URL."""

REQUEST_SECONDS = 10
"""The timeout of a request to the store, for requests whose caller has already left."""

_CONNECT_SECONDS = 2
_OPTIONS = {"endpoint", "region"}


def link_opener(url: str, folder: str = FOLDER) -> Callable[[], Store]:
    """Checks a URL and returns a function that opens the store; that may block on a disk.

    Its objects are those in `folder` below the prefix or the folder of the URL.

    The keys for S3 come from the standard variables (`AWS_ACCESS_KEY_ID`,
    `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`) or from the role of the machine or pod, never from
    the URL, so that no setting contains a secret.

    Raises:
        ConfigError: The URL has none of the known forms; the message does not repeat it, because it
            may contain a secret.
        EnvironmentFault: The `obstore` library is not installed.
    """
    try:
        import obstore.store  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise EnvironmentFault(
            "An object store needs the obstore library.",
            remedy="pip install 'silkline[s3]'",
        ) from error
    try:
        parts = urlsplit(url)
        # A URL with an @ probably contains a password.
        if "@" not in parts.netloc and parts.scheme == "s3" and parts.netloc:
            return _in_s3(parts, folder)
        if parts.scheme == "file" and not parts.netloc and parts.path.strip("/"):
            return _in_folder(Path(unquote(parts.path)) / folder)
    except ValueError:
        pass  # a wrong bracket or a wrong option: raised below
    raise ConfigError(
        f"The URL of the object store is wrong; write {FORMS}. Set the keys for S3 in "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    )


def _in_folder(folder: Path) -> Callable[[], LocalStore]:
    from obstore.store import LocalStore  # noqa: PLC0415 - an extra

    def open_folder() -> LocalStore:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LocalStore(folder)

    return open_folder


def _in_s3(parts: SplitResult, folder: str) -> Callable[[], S3Store]:
    from obstore.exceptions import BaseError  # noqa: PLC0415 - an extra
    from obstore.store import S3Store  # noqa: PLC0415 - an extra

    options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    if not options.keys() <= _OPTIONS:
        raise ValueError(parts.query)
    config: S3Config = {}
    client: ClientConfig = {
        "timeout": f"{REQUEST_SECONDS}s",
        "connect_timeout": f"{_CONNECT_SECONDS}s",
    }
    if "region" in options:
        config["region"] = options["region"]
    if "endpoint" in options:
        config["endpoint"] = options["endpoint"]
        # Plain HTTP only if the URL says so.
        client["allow_http"] = urlsplit(options["endpoint"]).scheme == "http"
    prefix = f"{unquote(parts.path).strip('/')}/{folder}".strip("/")
    try:
        # No retries: the circuit breaker decides when to try again.
        store = S3Store(
            parts.netloc,
            prefix=prefix,
            config=config,
            client_options=client,
            retry_config={"max_retries": 0},
        )
    except BaseError as error:
        raise ValueError(type(error).__name__) from None
    return lambda: store
