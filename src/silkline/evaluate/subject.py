"""Who is asked."""

from __future__ import annotations

import hashlib

import msgspec


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A model and all that its answers follow from, beside the question.

    Attributes:
        name: What the user calls it.
        model: The model's name and the revision of what is served, as name@revision.
        engine: Which engine computes; "remote" where another server does.
        precision: Of its weights.
        max_tokens: Most tokens of an answer.
        max_pixels: Pixels that its pictures are reduced to; 0 leaves them.
        options: What else its answers may follow from: options of its engine, a server's URL.
        versions: Of Silkline and of the libraries that compute, where they are in this process's
            environment: another version is another subject, whose answers are not taken for new.
        take: 1 where the same subject is asked once more, to be compared with itself.
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

    @property
    def fingerprint(self) -> str:
        """Digest of everything but the name: equal ones give the same answers."""
        told = msgspec.structs.replace(self, name="")
        encoded = msgspec.json.encode(told, order="deterministic")
        return hashlib.blake2b(encoded, digest_size=8).hexdigest()
