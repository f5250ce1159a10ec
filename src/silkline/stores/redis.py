"""How Redis is reached: from a URL to a client that fails fast.

The `redis` library is an extra of this package; it is imported when a URL is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from silkline.errors import ConfigError, EnvironmentFault

if TYPE_CHECKING:
    from redis.asyncio import Redis

COMMAND_SECONDS = 0.1
"""The longest that a command takes before the connection is given up."""

CONNECT_SECONDS = 0.5
"""The longest that connecting takes."""

SENTINEL = "redis+sentinel"
FORMS = (
    "redis://host:port/db, rediss:// for TLS, unix:///path, or "
    "redis+sentinel://host:port,host:port/service"
)

_SCHEMES = {"redis", "rediss", "unix", SENTINEL}
_SENTINEL_PORT = 26379


@dataclass(frozen=True, slots=True)
class Link:
    """A client and, where Sentinels name the server, the clients that ask them."""

    client: Redis
    sentinels: tuple[Redis, ...] = ()

    async def aclose(self) -> None:
        """Closes all connections."""
        for client in (self.client, *self.sentinels):
            await client.aclose()


def open_link(url: str) -> Link:
    """Makes a link; it connects with its first command, and again after an error.

    Nothing is retried: whoever uses the link knows better when to try again.

    Raises:
        ConfigError: The URL has none of the known forms; it is not repeated, for its password.
        EnvironmentFault: The `redis` library is not installed.
    """
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra
        from redis.asyncio.retry import Retry  # noqa: PLC0415 - an extra
        from redis.backoff import NoBackoff  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise EnvironmentFault(
            "A cache in Redis needs the redis library.", remedy="pip install 'silkline[redis]'"
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
            raise ValueError(parts.scheme)  # noqa: TRY301 - told like a wrong port
        if parts.scheme == SENTINEL:
            return _by_sentinels(parts, options)
        return Link(Redis.from_url(url, **options))
    except ValueError:
        raise ConfigError(f"The URL of Redis is wrong; write {FORMS}.") from None


def _by_sentinels(parts: SplitResult, options: dict[str, Any]) -> Link:
    from redis.asyncio.sentinel import Sentinel  # noqa: PLC0415 - an extra

    login, _, places = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError(service)
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
        [_place(place) for place in places.split(",")],
        sentinel_kwargs=options,
        username=unquote(user) or None,
        password=unquote(password) or None,
        db=int(database or 0),
        **options,
    )
    return Link(sentinel.master_for(service), tuple(sentinel.sentinels))


def _place(text: str) -> tuple[str, int]:
    place = urlsplit(f"//{text}")
    if not place.hostname:
        raise ValueError(text)
    return place.hostname, place.port or _SENTINEL_PORT
