"""A subject of an evaluation: a model, its engine and its settings."""

from __future__ import annotations

import hashlib

import msgspec


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A model with everything, besides the question, that determines its answers.

    Attributes:
        name: The name that the user gave it.
        model: The model's name and served revision, as name@revision.
        engine: The engine's name; "remote" for another server.
        precision: Precision of the weights.
        max_tokens: Maximum tokens of an answer.
        max_pixels: Images are scaled down to at most this many pixels; 0 never scales.
        options: Other settings that may change its answers, such as engine options or a server's
            URL.
        versions: Versions of Silkline and of the compute libraries installed in this process's
            environment. A new version is a new subject: cached answers of the old one do not
            count.
        take: 1 if the same subject runs a second time, to be compared with itself.
        content: Digest of the bundle that answers, whose revision is only what it says of itself;
            empty if it is none.
    """

    name: str
    model: str
    engine: str
    precision: str
    max_tokens: int
    max_pixels: int = 0
    options: dict[str, str] = {}
    versions: dict[str, str] = {}
    take: int = 0
    content: str = ""

    @property
    def fingerprint(self) -> str:
        """Digest of everything but the name; equal fingerprints mean equal answers."""
        nameless = msgspec.structs.replace(self, name="")
        encoded = msgspec.json.encode(nameless, order="deterministic")
        return hashlib.blake2b(encoded, digest_size=8).hexdigest()
