"""Engines by name: the entry points of the group `silkline.engines`, built-in ones included."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, requires, version
from importlib.util import find_spec
from typing import NamedTuple

from silkline.engines.accelerators import has_nvidia
from silkline.engines.base import Engine, EngineOptions
from silkline.errors import ConfigError, EnvironmentFault, SilklineError
from silkline.models.families import TEXT_ONLY
from silkline.models.inspection import inspect_engines
from silkline.models.resolve import ModelLocation
from silkline.models.support import EXPORT, Support, Verdict

ENGINE_GROUP = "silkline.engines"


def engine_names() -> tuple[str, ...]:
    """The names of all installed engines, sorted; nothing is imported to find them."""
    return tuple(sorted(entry_points(group=ENGINE_GROUP).names))


def create_engine(name: str, options: EngineOptions) -> Engine:
    """Builds an engine that has not started yet.

    Raises:
        ConfigError: No engine has this name (the nearest is named), or it refuses an option.
        EnvironmentFault: A library that the engine needs is not installed.
    """
    found = entry_points(group=ENGINE_GROUP, name=name)
    if not found:
        near = difflib.get_close_matches(name, engine_names(), n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]}?" if near else f"Known are: {', '.join(engine_names())}."
        raise ConfigError(f"There is no engine {name!r}. {hint}")
    entry = next(iter(found))
    try:
        engine: Engine = entry.load()(options)
    except ModuleNotFoundError as error:
        raise EnvironmentFault(
            f"The engine {name!r} needs the library {error.name!r}, which is not installed.",
            remedy=_install(_distribution(entry), name),
        ) from error
    return engine


def library_versions(engine: str) -> dict[str, str]:
    """Versions of Silkline and of the libraries of its extra of an engine's name, those installed.

    Where another server or program computes, only it knows its own.
    """
    extra = re.compile(rf"([A-Za-z0-9._-]+)[^;]*; extra == .{re.escape(engine)}.")
    wanted = [found[1] for line in requires("silkline") or () if (found := extra.fullmatch(line))]
    versions = {}
    for name in ("silkline", *wanted):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # Silkline runs from its folder, or the engine needs no such
            continue
    return versions


_PREFERRED = (
    ("vllm", "vllm", True),
    ("torch", "torch", True),
    ("openvino", "openvino_genai", False),
    ("torch", "torch", False),
)
"""Engines, the best first: the name, the library that it needs, whether it also needs CUDA."""

_EXPORTERS = ("optimum.intel", "nncf")
"""Libraries without which no model is exported for the engine openvino."""


class Choice(NamedTuple):
    """What `auto` came to.

    Attributes:
        engine: The engine's name.
        passed_over: Why those could not that would have been taken before it, by their names.
    """

    engine: str
    passed_over: Mapping[str, str] = {}

    def told(self) -> str:
        """In words, which engine was taken and why no better one; empty where it is the first."""
        whys = "; ".join(f"{name} cannot: {why}" for name, why in self.passed_over.items())
        return f"auto took {self.engine}; {whys}" if whys else ""


def pick_engine(place: ModelLocation) -> Choice:
    """What `auto` stands for: the best engine installed here that can serve a model.

    Nothing heavy is imported to know it; what an engine can do is what `silkline inspect` says.

    Args:
        place: Where the model lies.

    Raises:
        EnvironmentFault: No engine that computes is installed, or none that can serve the model.
        ConfigError: No engine that `auto` may take can serve the model, or its files are damaged.
    """
    usable = _usable()
    if not usable:
        raise EnvironmentFault(
            "No engine is installed on this machine.", remedy=_install("silkline", "openvino")
        )
    support = {each.engine: each for each in inspect_engines(place)}
    passed_over: dict[str, str] = {}
    for engine in usable:
        why_not = _why_not(support[engine])
        if why_not is None:
            return Choice(engine, passed_over)
        passed_over[engine] = why_not
    raise _none_can(place, support.values())


def _why_not(support: Support) -> str | None:
    """Why an engine that is installed cannot serve the model here; None where it can."""
    if support.verdict is Verdict.NO:
        return support.why
    if support.extra == EXPORT and not all(map(_is_there, _EXPORTERS)):
        return f"what exports it is not installed ({_install('silkline', EXPORT)})"
    return None


def _is_there(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def _usable() -> tuple[str, ...]:
    """The engines that `auto` may take on this machine, the best first, each once."""
    cuda = has_nvidia()
    found = (
        engine
        for engine, library, needs_cuda in _PREFERRED
        if (cuda or not needs_cuda) and find_spec(library) is not None
    )
    return tuple(dict.fromkeys(found))


def _none_can(place: ModelLocation, support: Collection[Support]) -> SilklineError:
    """The error that lists every engine; where one of `auto`'s is only not installed, how to."""
    if all(each.why == TEXT_ONLY for each in support):
        return ConfigError(
            f"{place.model} is a language model without a vision tower. Silkline serves models "
            "that take pictures: name one of those."
        )
    if len(reasons := {each.why for each in support}) == 1:
        return ConfigError(f"No engine can serve {place.model}: {reasons.pop()}.")
    able_first = sorted(support, key=lambda each: each.verdict is Verdict.NO)
    whys = " ".join(f"{each.engine}: {each.why}." for each in able_first)
    said = f"No engine that auto may take can serve {place.model} here. {whys}"
    automatic = [engine for engine, _, needs_cuda in _PREFERRED if not needs_cuda]
    for each in support:
        if each.verdict is Verdict.YES and each.engine in automatic:
            return EnvironmentFault(
                f"{said} For {each.engine} something is not installed.",
                remedy=_install("silkline", each.extra or each.engine),  # which brings the engine
            )
    return ConfigError(f"{said} Name one that can with --engine, or another model.")


def _install(distribution: str, extra: str) -> str:
    return f'pip install "{distribution}[{extra}]"'


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "silkline"
