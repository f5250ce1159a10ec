"""A baseline: the histograms of a model's features, and the file that keeps them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec

from silkline.drift.bins import Bins, Value, categories, ranges
from silkline.drift.features import FIELD, NUMBERS, Observed, features_of, fields_of
from silkline.drift.psi import stability_index
from silkline.errors import UNDECODABLE, ConfigError, EnvironmentFault
from silkline.stores.whole_file import replace_file

MIN_VALUES = 100
"""Values of a feature below which it has no baseline."""

_REFERENCES = 16
_WORDS = 31
_CATEGORIES = 15
_MAX_FIELDS = 16
_FREE_TEXT = 0.5
"""Share of distinct values from which on a field is free text, which has no usual values."""

_MAX_PARTS = 200
_SEED = 0


class Feature(msgspec.Struct, frozen=True):
    """The usual values of a feature.

    Attributes:
        bins: Its bins.
        counts: The values in each bin.
        spread: The largest index of a part of the baseline against the rest of it: how much
            traffic differs from hour to hour without any drift.
    """

    bins: Bins
    counts: tuple[int, ...]
    spread: float


class ModelBaseline(msgspec.Struct, frozen=True):
    """The baseline of a model.

    Attributes:
        source: What it was taken from, in words.
        at: Unix time at which it was taken.
        requests: Its requests.
        references: Perceptual digests, in hex, that images are compared with.
        features: The features by name.
    """

    source: str
    at: float
    requests: int
    references: tuple[str, ...]
    features: dict[str, Feature]

    @property
    def digests(self) -> tuple[int, ...]:
        """The perceptual digests as numbers."""
        return tuple(int(text, 16) for text in self.references)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of structured answers that it has."""
        return tuple(name.removeprefix(FIELD) for name in self.features if name.startswith(FIELD))


Baselines = dict[str, ModelBaseline]
"""Baselines by the model's name."""


def take_baseline(
    seen: Sequence[Observed], *, source: str, at: float, part_requests: int
) -> ModelBaseline:
    """Takes the baseline of a model's requests.

    Args:
        seen: The requests in the order of their arrival, at least `MIN_VALUES`.
        source: What they come from, in words.
        at: Unix time now.
        part_requests: Minimum requests of a part, as of a window; see `Feature.spread`.

    Raises:
        ConfigError: There are too few requests.
    """
    if len(seen) < MIN_VALUES:
        raise ConfigError(
            f"{source} has {len(seen)} computed answers; a baseline needs at least {MIN_VALUES}. "
            "Answers from the cache do not count. Wait for more traffic, or use a larger data set."
        )
    draw = Random(_SEED)  # noqa: S311 - a sample, no secret
    references = _references(seen, draw)
    fields = _fields(seen)
    values = [list(features_of(one, references, fields, draw)) for one in seen]
    by_name: dict[str, list[Value]] = defaultdict(list)
    for name, value in (pair for found in values for pair in found):
        by_name[name].append(value)
    parts = _parts(values, part_requests)
    features = {
        name: _feature(name, found, parts)
        for name, found in by_name.items()
        if len(found) >= MIN_VALUES
    }
    return ModelBaseline(
        source, at, len(seen), tuple(f"{one:016x}" for one in references), features
    )


def _references(seen: Sequence[Observed], draw: Random) -> list[int]:
    looks = {
        image.perceptual for one in seen for image in one.images if image.perceptual is not None
    }
    return draw.sample(sorted(looks), min(_REFERENCES, len(looks)))


def _fields(seen: Sequence[Observed]) -> list[str]:
    """The fields that at least half of the structured answers have, without free text."""
    found = [
        values
        for one in seen
        for output in one.outputs
        if output.text is not None and (values := fields_of(output.text))
    ]
    counts = Counter(name for values in found for name in values)
    usual = [name for name, count in counts.items() if 2 * count >= len(found)]
    return [
        name
        for name in usual
        if len({values.get(name) for values in found}) <= _FREE_TEXT * len(found)
    ][:_MAX_FIELDS]


def _parts(
    values: Sequence[Sequence[tuple[str, Value]]], part_requests: int
) -> list[dict[str, list[Value]]]:
    """Parts of the size of a window, evenly over all requests; none if there is only one."""
    count = len(values) // part_requests
    parts: list[dict[str, list[Value]]] = []
    for number in range(0, count if count > 1 else 0, 1 + count // _MAX_PARTS):
        part: dict[str, list[Value]] = defaultdict(list)
        begin = number * part_requests
        for name, value in (
            pair for found in values[begin : begin + part_requests] for pair in found
        ):
            part[name].append(value)
        parts.append(part)
    return parts


def _feature(
    name: str, values: Sequence[Value], parts: Sequence[dict[str, list[Value]]]
) -> Feature:
    bins = _bins(name, values)
    counts = counted(bins, values)
    spread = max(_indices(bins, counts, name, parts), default=0.0)
    return Feature(bins, counts, spread)


def _bins(name: str, values: Sequence[Value]) -> Bins:
    if name in NUMBERS:
        return ranges([float(value) for value in values])
    limit = _WORDS if name == "vocabulary" else _CATEGORIES
    return categories([str(value) for value in values], limit)


def _indices(
    bins: Bins, counts: Sequence[int], name: str, parts: Sequence[dict[str, list[Value]]]
) -> Iterator[float]:
    """The index of each part against the rest."""
    for part in parts:
        own = counted(bins, part.get(name, ()))
        rest = [all_of_it - one for all_of_it, one in zip(counts, own, strict=True)]
        if sum(own) >= MIN_VALUES:
            yield stability_index(rest, own)


def counted(bins: Bins, values: Sequence[Value]) -> tuple[int, ...]:
    """The number of values in each bin."""
    counts = [0] * len(bins.names)
    for value in values:
        counts[bins.index(value)] += 1
    return tuple(counts)


def read_baselines(path: Path) -> Baselines:
    """Reads the baselines of a file.

    Raises:
        ConfigError: The file cannot be read, or holds something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Baselines)
    except OSError as error:
        raise ConfigError(
            f"The baseline {path} cannot be read: {error.strerror}. Take one with "
            "`silkline baseline`, or leave out drift_baseline."
        ) from error
    except UNDECODABLE as error:
        raise ConfigError(
            f"{path} holds no baseline. Take one with `silkline baseline -o {path}`."
        ) from error


def write_baseline(path: Path, model: str, baseline: ModelBaseline) -> None:
    """Puts a model's baseline into a file; the baselines of other models in it stay.

    Raises:
        ConfigError: The file holds something else.
        EnvironmentFault: It cannot be written.
    """
    baselines = read_baselines(path) if path.exists() else {}
    encoded = msgspec.json.encode(baselines | {model: baseline})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, msgspec.json.format(encoded, indent=1) + b"\n", mode=0o644)
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be written: {error.strerror}.") from error
