"""Keys files for tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from silkline.gateway.keys import fragment, new_key


@dataclass(frozen=True)
class Keys:
    """A keys file, and the keys whose digests it holds."""

    file: Path
    shop: str
    """Opens all that a key opens where nothing else is said."""
    scraper: str
    """Opens `/metrics` alone."""
    expired: str


def write_keys(folder: Path) -> Keys:
    keys = Keys(folder / "keys.toml", new_key(), new_key(), new_key())
    keys.file.write_text(
        "[tenants.shop]\nweight = 2.0\nrequests_per_minute = 600000\n\n"
        '[tenants.scraper]\npaths = ["/metrics"]\n\n'
        + fragment("shop", keys.shop, None)
        + fragment("scraper", keys.scraper, None)
        + fragment("shop", keys.expired, None)
        + "expires = 2020-01-01\n",
        encoding="utf-8",
    )
    return keys


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}
