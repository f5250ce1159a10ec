"""The sampling parameters that a model's publisher recommends, in generation_config.json."""

from __future__ import annotations

from pathlib import Path

from silkline.models.documents import read_document

GENERATION_CONFIG = "generation_config.json"

_RANGES = {
    "temperature": (0.0, 2.0),
    "top_p": (1e-6, 1.0),
    "top_k": (0.0, 2**31 - 1),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 10.0),
}
"""The parameters that are read, and the range of each; values out of range are not used."""

_ALWAYS = {"repetition_penalty"}


def read_sampling_defaults(*folders: Path) -> tuple[tuple[str, float], ...]:
    """Reads the parameters from the first folder that has the file; none if no folder has it.

    As in transformers, those of random sampling apply only if the file says `do_sample`.

    Raises:
        ConfigError: The file is damaged.
    """
    path = next((path for each in folders if (path := each / GENERATION_CONFIG).is_file()), None)
    if path is None:
        return ()
    document = read_document(path, GENERATION_CONFIG)
    samples = document.flag("do_sample") is True
    found = []
    for name, (minimum, maximum) in _RANGES.items():
        value = document.decimal(name) if samples or name in _ALWAYS else None
        if value is not None and minimum <= value <= maximum:
            found.append((name, value))
    if samples and not any(name == "temperature" for name, _ in found):
        found.append(("temperature", 1.0))  # transformers' own default
    return tuple(found)
