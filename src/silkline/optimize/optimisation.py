"""Optimisations of a bundle: what each applies to, how it is applied, what it needs.

They are found among the entry points of the group `silkline.optimizations`, as engines are, so that
other packages can add some.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from silkline.core import Image
from silkline.engines.registry import is_installed
from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.bundle import Bundle, EngineWeights

GROUP = "silkline.optimizations"

OnStage = Callable[[str], None]
"""Called with what is being done, in words."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A question to calibrate with.

    Attributes:
        image: The image.
        prompt: The question's text.
        answer: The right answer; empty if the data set has none.
    """

    image: Image
    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Work:
    """What an optimisation changes.

    Attributes:
        folder: The engine's folder in the new bundle, a copy of the original; changed in place.
        weights: The engine's entry in the manifest.
        images: Images to calibrate with; empty unless the optimisation needs some.
        samples: Questions about these images; empty unless the optimisation needs some.
        findings: What it measured, by its own names, for the manifest and the report: values that
            JSON can hold.
    """

    folder: Path
    weights: EngineWeights
    images: Sequence[Image]
    samples: Sequence[Sample] = ()
    findings: dict[str, Any] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The folder of the new bundle."""
        return self.folder.joinpath(*[".."] * len(Path(self.weights.path).parts)).resolve()


@dataclass(frozen=True, slots=True)
class Optimisation:
    """One optimisation.

    Attributes:
        name: The entry point's name, as the command line takes it.
        about: What it does, in a few words.
        engine: The engine whose weights it changes.
        applies: Says why it does not apply to a bundle with weights for the engine; empty if it
            does.
        apply: Changes the files, and returns the engine's new entry in the manifest.
        libraries: Modules that must be found.
        needs_images: Whether it is calibrated with images.
        needs_samples: Whether it is calibrated with questions and answers, which have images.
        parts: What it changes, such as "vision", "decoder", "kv". The search takes only one of
            several optimisations that change the same part; without parts it combines with all.
        order: The search applies optimisations in this order: one that changes what another
            measures comes first.
    """

    name: str
    about: str
    engine: str
    applies: Callable[[Bundle], str]
    apply: Callable[[Work], EngineWeights]
    libraries: tuple[str, ...] = ()
    needs_images: bool = False
    needs_samples: bool = False
    parts: frozenset[str] = frozenset()
    order: int = 0

    @property
    def calibrated(self) -> bool:
        """Whether it is calibrated with items of a data set."""
        return self.needs_images or self.needs_samples

    def why_not(self, bundle: Bundle) -> str:
        """Why it does not apply to a bundle; empty if it does."""
        if self.engine not in bundle.manifest.engines:
            return f"it has no weights for the engine {self.engine}"
        return self.applies(bundle)


def optimisations() -> tuple[Optimisation, ...]:
    """All registered optimisations, sorted by name.

    Raises:
        EnvironmentFault: A package that registers one cannot be imported.
    """
    found: list[Optimisation] = []
    for entry in entry_points(group=GROUP):
        try:
            loaded = entry.load()
        except ImportError as error:
            raise EnvironmentFault(
                f"The optimisation {entry.name} cannot be imported: {error}."
            ) from error
        several = loaded if isinstance(loaded, tuple) else (loaded,)
        if not all(isinstance(each, Optimisation) for each in several):
            raise EnvironmentFault(
                f"The entry point {entry.name} is neither an Optimisation nor a tuple of some."
            )
        found += several
    return tuple(sorted(found, key=lambda each: each.name))


def check_applies(optimisation: Optimisation, bundle: Bundle) -> None:
    """Checks that an optimisation applies to a bundle. Raises `ConfigError` if it does not."""
    if why := optimisation.why_not(bundle):
        name = bundle.manifest.name
        raise ConfigError(f"{optimisation.name} does not apply to {name}: {why}.")


def choose(names: Sequence[str], bundle: Bundle) -> list[Optimisation]:
    """Finds optimisations by name, in the order to apply them.

    Raises:
        ConfigError: One is unknown, or does not apply to the bundle.
        EnvironmentFault: A library that one needs is not installed.
    """
    known = {each.name: each for each in optimisations()}
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(
            f"There is no optimisation {unknown[0]}. Known are: {', '.join(known) or 'none'}."
        )
    chosen = [known[name] for name in dict.fromkeys(names)]
    for each in chosen:
        check_applies(each, bundle)
        if missing := missing_libraries(each):
            raise EnvironmentFault(
                f"{each.name} needs {', '.join(missing)}, which cannot be found.",
                remedy="pip install 'silkline[optimize]'",
            )
    return chosen


def missing_libraries(optimisation: Optimisation) -> list[str]:
    """The libraries that an optimisation needs and that cannot be found."""
    return [name for name in optimisation.libraries if not is_installed(name)]
