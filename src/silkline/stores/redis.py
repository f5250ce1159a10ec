"""Creates Redis clients that fail fast, from a URL.

The `redis` library is an optional extra; it is imported only when a URL is set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from silkline.errors import ConfigError, EnvironmentFault

if TYPE_CHECKING:
    from redis.asyncio import Redis

COMMAND_SECONDS = 0.1
"""Timeout of a command; the connection is then dropped."""

CONNECT_SECONDS = 0.5
"""Timeout of connecting."""

SENTINEL = "redis+sentinel"
FORMS = (
    "redis://host:port/db, rediss:// for TLS, unix:///path, or "
    "redis+sentinel://host:port,host:port/service"
)

_SCHEMES = {"redis", "rediss", "unix", SENTINEL}
_SENTINEL_PORT = 26379


@dataclass(frozen=True, slots=True)
class Link:
    """A client and, if Sentinels are used to find the server, their clients."""

    client: Redis
    sentinels: tuple[Redis, ...] = ()

    async def aclose(self) -> None:
        """Closes all connections."""
        for client in (self.client, *self.sentinels):
            await client.aclose()


def open_link(url: str) -> Link:
    """Creates a link; it connects with its first command, and reconnects after an error.

    It retries nothing, because its user knows better when to retry.

    Raises:
        ConfigError: The URL is invalid; the message does not repeat it, as it has a password.
        EnvironmentFault: The `redis` library is not installed.
    """
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra
        from redis.asyncio.retry import Retry  # noqa: PLC0415 - an extra
        from redis.backoff import NoBackoff  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise EnvironmentFault(
            "A redis:// URL needs the redis library, which is not installed.",
            remedy="pip install 'silkline[redis]'",
        ) from error
    options: dict[str, Any] = {
        "socket_timeout": COMMAND_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
    }
    try:
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            raise ValueError(parts.scheme)  # noqa: TRY301 - reported like an invalid port
        if parts.scheme == SENTINEL:
            return _by_sentinels(parts, options)
        return Link(Redis.from_url(url, **options))
    except ValueError:
        raise ConfigError(f"The Redis URL is invalid; expected {FORMS}.") from None


def redis_faults() -> tuple[type[Exception], ...]:
    """Returns what the library raises when a server does not work.

    Besides the documented errors: ValueError from its parser for an invalid reply, and RuntimeError
    from uvloop when it writes to a connection that was reset.
    """
    from redis.exceptions import RedisError  # noqa: PLC0415 - an extra

    return (RedisError, OSError, ValueError, RuntimeError)


def _by_sentinels(parts: SplitResult, options: dict[str, Any]) -> Link:
    from redis.asyncio.sentinel import Sentinel  # noqa: PLC0415 - an extra

    login, _, addresses = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError(service)
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
        [_host_and_port(address) for address in addresses.split(",")],
        sentinel_kwargs=options,
        username=unquote(user) or None,
        password=unquote(password) or None,
        db=int(database or 0),
        **options,
    )
    return Link(sentinel.master_for(service), tuple(sentinel.sentinels))


def _host_and_port(text: str) -> tuple[str, int]:
    address = urlsplit(f"//{text}")
    if not address.hostname:
        raise ValueError(text)
    return address.hostname, address.port or _SENTINEL_PORT
