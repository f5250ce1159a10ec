"""The name under which a model without a manifest is served."""

from __future__ import annotations

import hashlib
import re

from anyascii import anyascii

from silkline.models.resolve import Kind, ModelLocation

_NOT_IN_A_LABEL = re.compile(r"[^A-Za-z0-9._-]+")
_LABEL_LENGTH = 100
_LABEL = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{_LABEL_LENGTH - 1}}}")
_DIGEST_LENGTH = 8


def label_of(location: ModelLocation) -> str:
    """The public name of a model that has no manifest: the last part of what the user calls it.

    HTTP headers carry it, so it is ASCII. A name that is not a `Label` already is transliterated,
    and ends with digits of its digest, so that no two names give the same label.
    """
    name = public_name(location).rpartition("/")[2]
    if _LABEL.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:_DIGEST_LENGTH]
    words = _NOT_IN_A_LABEL.sub("-", anyascii(name)).strip("-._")
    return f"{words[: _LABEL_LENGTH - _DIGEST_LENGTH - 1] or 'model'}-{digest}"


def public_name(location: ModelLocation) -> str:
    """What the user calls a model, without where it lies or its revision."""
    if location.kind is Kind.HUB:
        return location.model.partition("@")[0]
    return location.folder.resolve().name
