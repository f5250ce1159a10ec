"""Tenants and their API keys: a TOML file that holds digests, never keys.

A key is 256 random bits, so that one SHA-256 protects it as well as a slow hash would: there is
nothing to guess. (NIST SP 800-63B-4, 3.1.2: look-up secrets of 112 bits and more need no salt and
no stretching.)
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from silkline.admission.tenant import ANYONE, Tenant
from silkline.config import Section
from silkline.errors import ConfigError

KEY_PREFIX = "sk-silk-"
"""What every key begins with, so that scanners find one that was published."""

EVERYTHING_BELOW = "/"
METRICS = "/metrics"
"""Shows what all tenants do; so the paths of a key must name it."""

_KEY_BYTES = 32
_SALT_BYTES = 16
_TENANT_NAME = r"[A-Za-z0-9_-]{1,64}"
_NOBODY = hashlib.sha256(b"silkline: the key that nobody has").digest()

_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_PerMinute = Annotated[int, Field(ge=1)]
_Path = Annotated[str, Field(pattern="^/")]


class _KeyEntry(Section):
    sha256: _Digest
    expires: datetime | date | None = None


class _TenantEntry(Section):
    weight: float = Field(1.0, gt=0, le=1e6)
    requests_per_minute: _PerMinute | None = None
    tokens_per_minute: _PerMinute | None = None
    paths: tuple[_Path, ...] = (EVERYTHING_BELOW,)
    keys: tuple[_KeyEntry, ...] = ()


class _File(Section):
    tenants: dict[str, _TenantEntry] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose a key is and what it opens.

    Attributes:
        tenant: Whose it is.
        paths: The paths that it opens; one that ends in a slash opens all that lies below it.
        expires: When it ends, in Unix seconds; None where it does not.
    """

    tenant: Tenant
    paths: tuple[str, ...]
    expires: float | None

    def opens(self, path: str) -> bool:
        """Whether the key may be used at a path, as routes see it; `/metrics` has to be named."""
        if path in self.paths:
            return True
        return path != METRICS and any(
            path.startswith(opened) for opened in self.paths if opened.endswith("/")
        )


class KeyRing:
    """The keys that are good at one moment."""

    def __init__(self, holders: Mapping[bytes, Holder], tenants: tuple[Tenant, ...]) -> None:
        """Takes who holds the key of each SHA-256, and all tenants."""
        self._holders = {digest: (digest, holder) for digest, holder in holders.items()}
        self.tenants = tenants

    @classmethod
    def load(cls, path: Path) -> KeyRing:
        """Reads a keys file.

        Raises:
            ConfigError: It cannot be read, or something in it is wrong.
        """
        try:
            file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            # Without the values: somebody may have written down a key in place of its digest.
            wrong = (
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}."
                for problem in error.errors(include_url=False, include_input=False)
            )
            raise ConfigError(f"The keys file {path} is wrong: {' '.join(wrong)}") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"The keys file {path} cannot be read: {error}") from error
        return _ring(path, file.tenants)

    def holder(self, key: bytes) -> Holder | None:
        """Who holds a key; None for one that is not known.

        It takes the same time for each key: what is looked up is the digest, of which nobody can
        choose a part, and a digest that is not there is compared all the same.
        """
        digest = hashlib.sha256(key).digest()
        known, holder = self._holders.get(digest, (_NOBODY, None))
        return holder if hmac.compare_digest(known, digest) else None

    def __len__(self) -> int:
        return len(self._holders)


def new_key() -> str:
    """A key that nobody has had before: `sk-silk-` and 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def fragment(tenant: str, key: str, expires: date | None) -> str:
    """What a keys file needs so that the key is good; it may stand at the file's end.

    Raises:
        ConfigError: The name cannot be a tenant's.
    """
    _check_name(tenant)
    digest = hashlib.sha256(key.encode()).hexdigest()
    end = "" if expires is None else f"expires = {expires.isoformat()}\n"
    return f'[[tenants.{tenant}.keys]]\nsha256 = "{digest}"\n{end}'


def _ring(path: Path, entries: Mapping[str, _TenantEntry]) -> KeyRing:
    holders: dict[bytes, Holder] = {}
    tenants = []
    for name, entry in entries.items():
        _check_name(name)
        tenant = Tenant(
            name=name,
            weight=entry.weight,
            requests_per_minute=entry.requests_per_minute,
            tokens_per_minute=entry.tokens_per_minute,
            salt=hashlib.blake2b(
                name.encode(), digest_size=_SALT_BYTES, person=b"silkline.tenant"
            ).digest(),
        )
        tenants.append(tenant)
        for key in entry.keys:
            digest = bytes.fromhex(key.sha256)
            if digest in holders:
                raise ConfigError(f"The keys file {path} holds a key of {name} twice.")
            holders[digest] = Holder(tenant, entry.paths, _unix_seconds(key.expires))
    return KeyRing(holders, tuple(tenants))


def _check_name(name: str) -> None:
    if not re.fullmatch(_TENANT_NAME, name) or name == ANYONE.name:
        raise ConfigError(
            f"{name!r} cannot be a tenant's name: up to 64 letters, digits, _ and -, and not "
            f"{ANYONE.name}."
        )


def _unix_seconds(moment: datetime | date | None) -> float | None:
    """A date stands for its first moment; where no offset is given, the time is UTC."""
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
