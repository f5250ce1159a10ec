"""Tenants and their API keys, from a TOML file that holds digests of the keys, never the keys.

A key is 256 random bits, too many to guess, so a single SHA-256 protects it as well as a slow hash
would. (NIST SP 800-63B-4, 3.1.2: look-up secrets of 112 bits and more need no salt and no
stretching.)
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
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from silkline.admission.tenant import ANYONE, Tenant
from silkline.config import Section
from silkline.errors import ConfigError

KEY_PREFIX = "sk-silk-"
"""Prefix of every key, so that secret scanners find leaked ones."""

EVERYTHING_BELOW = "/"
ADMIN = "/admin"
"""This path and all below it change the server, so a key needs the role admin."""

METRICS = "/metrics"
"""Shows the activity of all tenants, so a key's paths must name it explicitly."""

_KEY_BYTES = 32
_SALT_BYTES = 16
_TENANT_NAME = r"[A-Za-z0-9_-]{1,64}"
_UNKNOWN_DIGEST = hashlib.sha256(b"silkline: the key that nobody has").digest()

_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_PerMinute = Annotated[int, Field(ge=1)]
_Path = Annotated[str, Field(pattern="^/")]


class Role(StrEnum):
    """What a key is for, beyond its tenant's paths."""

    USER = "user"
    ADMIN = "admin"


class _KeyEntry(Section):
    sha256: _Digest
    role: Role = Role.USER
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
    """The tenant and the permissions of a key.

    Attributes:
        tenant: The tenant that owns the key.
        paths: Allowed paths; one that ends in a slash allows every path below it.
        expires: Expiry in Unix seconds; None means that the key does not expire.
        role: What the key is for.
    """

    tenant: Tenant
    paths: tuple[str, ...]
    expires: float | None
    role: Role = Role.USER

    def opens(self, path: str) -> bool:
        """Whether the key allows a path, as routes see it.

        `/metrics` must be listed explicitly, and the admin API needs the role admin too.
        """
        if is_admin(path) and self.role is not Role.ADMIN:
            return False
        if path in self.paths:
            return True
        return path != METRICS and any(
            path.startswith(prefix) for prefix in self.paths if prefix.endswith("/")
        )


def is_admin(path: str) -> bool:
    """Whether a path, as routes see it, belongs to the admin API."""
    return path == ADMIN or path.startswith(f"{ADMIN}/")


class KeyRing:
    """The keys of one version of the keys file."""

    def __init__(self, holders: Mapping[bytes, Holder], tenants: tuple[Tenant, ...]) -> None:
        """Takes the holder of each key by its SHA-256 digest, and all tenants."""
        self._holders = {digest: (digest, holder) for digest, holder in holders.items()}
        self.tenants = tenants

    @classmethod
    def load(cls, path: Path) -> KeyRing:
        """Reads a keys file.

        Raises:
            ConfigError: The file cannot be read, or is invalid.
        """
        try:
            file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            # Without the values: the file may hold a key by mistake instead of its digest.
            problems = (
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}."
                for problem in error.errors(include_url=False, include_input=False)
            )
            raise ConfigError(f"The keys file {path} is invalid: {' '.join(problems)}") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"Cannot read the keys file {path}: {error}") from error
        return _ring(path, file.tenants)

    def holder(self, key: bytes) -> Holder | None:
        """Returns the holder of a key; None if the key is unknown.

        Takes the same time for every key: the lookup uses the digest, no part of which a client can
        choose, and an unknown digest is compared too.
        """
        digest = hashlib.sha256(key).digest()
        known, holder = self._holders.get(digest, (_UNKNOWN_DIGEST, None))
        return holder if hmac.compare_digest(known, digest) else None

    def next_expiry(self, now: float) -> float | None:
        """The Unix time at which the next key expires that is valid now; None if none does."""
        ends = [holder.expires for _, holder in self._holders.values()]
        return min((end for end in ends if end is not None and end > now), default=None)

    @property
    def holders(self) -> tuple[Holder, ...]:
        """The holder of each key."""
        return tuple(holder for _, holder in self._holders.values())

    def __len__(self) -> int:
        return len(self._holders)


def new_key() -> str:
    """Generates a new key: `sk-silk-` and 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def fragment(tenant: str, key: str, expires: date | None, role: Role = Role.USER) -> str:
    """The TOML entry for a key, which can be appended to a keys file.

    Raises:
        ConfigError: The tenant's name is invalid.
    """
    _check_name(tenant)
    digest = hashlib.sha256(key.encode()).hexdigest()
    end = "" if expires is None else f"expires = {expires.isoformat()}\n"
    admin = f'role = "{role}"\n' if role is Role.ADMIN else ""
    return f'[[tenants.{tenant}.keys]]\nsha256 = "{digest}"\n{admin}{end}'


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
                raise ConfigError(f"The keys file {path} has a key of {name} twice. Keep one.")
            holders[digest] = Holder(tenant, entry.paths, _unix_seconds(key.expires), key.role)
    return KeyRing(holders, tuple(tenants))


def _check_name(name: str) -> None:
    if not re.fullmatch(_TENANT_NAME, name) or name == ANYONE.name:
        raise ConfigError(
            f"{name!r} cannot be a tenant's name. Use 1 to 64 letters, digits, _ or -, but not "
            f"{ANYONE.name}."
        )


def _unix_seconds(moment: datetime | date | None) -> float | None:
    """Converts an expiry; a date means its start, and a time without an offset is UTC."""
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
