"""The software bill of materials of this installation, as CycloneDX 1.6.

https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from typing import Any

from silkline import __version__

_LONGEST_LICENSE = 200


def sbom(bundle: str, digest: str, license_id: str) -> dict[str, Any]:
    """Describes a bundle and all distributions of the environment that made it.

    Args:
        bundle: The bundle's label, name@revision.
        digest: Its SHA-256.
        license_id: Its SPDX identifier.
    """
    name, _, revision = bundle.partition("@")
    model = {
        "type": "machine-learning-model",
        "bom-ref": f"bundle:{digest}",
        "name": name,
        "version": revision,
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "licenses": [{"license": {"name": license_id}}],
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {
                "components": [{"type": "application", "name": "silkline", "version": __version__}]
            },
            "component": model,
        },
        "components": [
            {
                "type": "platform",
                "bom-ref": "platform:python",
                "name": platform.python_implementation(),
                "version": platform.python_version(),
            },
            *_libraries(distributions()),
        ],
    }


def _libraries(found: Iterable[Distribution]) -> list[dict[str, Any]]:
    """One component for each distribution, sorted by name."""
    known: dict[str, dict[str, Any]] = {}
    for each in found:
        name = each.metadata["Name"]
        if not name:
            continue
        purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{each.version}"
        component: dict[str, Any] = {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": each.version,
            "purl": purl,
        }
        if (text := _license(each)) is not None:
            component["licenses"] = [{"license": {"name": text}}]
        known.setdefault(name.lower(), component)
    return [known[name] for name in sorted(known)]


def _license(found: Distribution) -> str | None:
    """The licence as the distribution states it; None if it does not, or states a whole text."""
    for key in ("License-Expression", "License"):
        for text in found.metadata.get_all(key) or []:
            if text and len(text) <= _LONGEST_LICENSE and "\n" not in text:
                return str(text)
    return None
