"""Finds engines by name, among the entry points of the group `silkline.engines`."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Mapping
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, requires, version
from importlib.util import find_spec
from typing import NamedTuple

from silkline.engines.accelerators import has_nvidia
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.spec import EngineSpec
from silkline.errors import ConfigError, EnvironmentFault, SilklineError
from silkline.models.families import TEXT_ONLY
from silkline.models.inspection import read_facts
from silkline.models.resolve import ModelLocation
from silkline.models.support import ModelFacts, Support, Verdict, general_refusal

ENGINE_GROUP = "silkline.engines"

_USUAL = "openvino"
"""The engine whose install command is given where there is no engine at all."""


def engine_names() -> tuple[str, ...]:
    """The names of all registered engines, sorted; nothing is imported to find them."""
    return tuple(sorted(entry_points(group=ENGINE_GROUP).names))


def engine_spec(name: str) -> EngineSpec:
    """What an engine tells about itself.

    Raises:
        ConfigError: No engine has this name (the nearest is named).
        EnvironmentFault: The package that registers it cannot be imported, or names no
            `EngineSpec`.
    """
    found = entry_points(group=ENGINE_GROUP, name=name)
    if not found:
        near = difflib.get_close_matches(name, engine_names(), n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]}?" if near else f"Known are: {', '.join(engine_names())}."
        raise ConfigError(f"There is no engine {name!r}. {hint}")
    return _load(next(iter(found)))


def engine_specs() -> tuple[EngineSpec, ...]:
    """All engines that can be looked at, in the order in which `auto` tries them, then by name.

    A package that cannot be imported is left out here; naming its engine says why.
    """
    specs = []
    for entry in entry_points(group=ENGINE_GROUP):
        try:
            specs.append(_load(entry))
        except EnvironmentFault:
            continue
    return tuple(
        sorted(
            specs,
            key=lambda spec: (spec.rank or math.inf, spec.gpu_rank or math.inf, spec.name),
        )
    )


def _load(entry: EntryPoint) -> EngineSpec:
    package = entry.dist.name if entry.dist is not None else entry.module
    try:
        spec = entry.load()
    except ImportError as error:
        raise EnvironmentFault(
            f"The engine {entry.name!r} cannot be imported from {package}: {error}.",
            remedy=f"pip install --force-reinstall {package}",
        ) from error
    if not isinstance(spec, EngineSpec) or spec.name != entry.name:
        raise EnvironmentFault(
            f"The entry point {entry.name!r} of {package} is not an EngineSpec of that name. "
            "docs/engines.md has an example."
        )
    return spec


def create_engine(name: str, options: EngineOptions) -> Engine:
    """Builds an engine that has not started yet.

    Raises:
        ConfigError: No engine has this name, or it refuses an option.
        EnvironmentFault: A library that the engine needs is not installed.
    """
    spec = engine_spec(name)
    try:
        return spec.create(options)
    except ModuleNotFoundError as error:
        raise EnvironmentFault(
            f"The engine {name!r} needs the library {error.name!r}, which is not installed.",
            remedy=spec.install or None,
        ) from error


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


def judge(facts: ModelFacts, engines: Collection[EngineSpec] | None = None) -> tuple[Support, ...]:
    """What each engine says about a model; one that reads a damaged file says no.

    Args:
        facts: What the model's files say.
        engines: Who is asked; None asks all.
    """
    specs = [spec for spec in engines or engine_specs() if spec.support is not None]
    if (refusal := general_refusal(facts)) is not None:
        return tuple(Support(spec.name, Verdict.NO, refusal) for spec in specs)
    return tuple(_judged(spec, facts) for spec in specs)


def _judged(spec: EngineSpec, facts: ModelFacts) -> Support:
    if spec.support is None:
        raise TypeError(f"the engine {spec.name} judges no models")
    try:
        return spec.support(facts)
    except ConfigError as error:
        return Support(spec.name, Verdict.NO, error.message.removesuffix("."))


def check_engine(location: ModelLocation, engine: str) -> None:
    """Refuses a model that an engine cannot serve, in the words of `silkline inspect`.

    Args:
        location: Where the model lies.
        engine: The engine's name; one that cannot tell refuses nothing here.

    Raises:
        ConfigError: The engine cannot serve it, or a file is damaged.
    """
    for support in judge(read_facts(location), [engine_spec(engine)]):
        if support.verdict is Verdict.NO:
            raise ConfigError(f"The engine {engine} cannot serve {location.model}: {support.why}.")


class Choice(NamedTuple):
    """What `auto` chose.

    Attributes:
        engine: The engine's name.
        passed_over: Why each engine that it prefers cannot serve the model, by name.
    """

    engine: str
    passed_over: Mapping[str, str] = {}

    def told(self) -> str:
        """In words, which engine was taken and why no better one; empty where it is the first."""
        whys = "; ".join(f"{name} cannot: {why}" for name, why in self.passed_over.items())
        return f"auto took {self.engine}; {whys}" if whys else ""


def pick_engine(location: ModelLocation) -> Choice:
    """Chooses for `auto`: the best engine installed here that can serve a model.

    No heavy library is imported; what an engine can do is what `silkline inspect` says.

    Args:
        location: Where the model lies.

    Raises:
        EnvironmentFault: No engine that computes is installed, or none that can serve the model.
        ConfigError: No engine that `auto` may take can serve the model, or its files are damaged.
    """
    usable = _usable()
    if not usable:
        raise EnvironmentFault(
            "No engine is installed on this machine.", remedy=engine_spec(_USUAL).install
        )
    support = {each.engine: each for each in judge(read_facts(location))}
    passed_over: dict[str, str] = {}
    for spec in usable:
        if support[spec.name].verdict is not Verdict.NO:
            return Choice(spec.name, passed_over)
        passed_over[spec.name] = support[spec.name].why
    raise _none_can(location, support.values())


def is_installed(library: str) -> bool:
    """Whether a module can be found; it is not imported."""
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def _usable() -> list[EngineSpec]:
    """The engines that `auto` may take on this machine, the best first."""
    gpu = has_nvidia()
    ranked = [
        (rank, spec.name, spec)
        for spec in engine_specs()
        if spec.support is not None
        and (rank := spec.gpu_rank if gpu else spec.rank) is not None
        and all(map(is_installed, spec.libraries))
    ]
    return [spec for _, _, spec in sorted(ranked, key=lambda each: each[:2])]


def _none_can(location: ModelLocation, support: Collection[Support]) -> SilklineError:
    """The error that lists every engine; where one is only not installed, how to install it."""
    if all(each.why == TEXT_ONLY for each in support):
        return ConfigError(
            f"{location.model} is a language model without a vision tower. Silkline serves models "
            "that take pictures: name one of those."
        )
    if len(reasons := {each.why for each in support}) == 1:
        return ConfigError(f"No engine can serve {location.model}: {reasons.pop()}.")
    able_first = sorted(support, key=lambda each: each.verdict is Verdict.NO)
    whys = " ".join(f"{each.engine}: {each.why}." for each in able_first)
    said = f"No engine that auto may take can serve {location.model} here. {whys}"
    specs = {spec.name: spec for spec in engine_specs()}
    for each in support:
        if each.verdict is Verdict.YES and specs[each.engine].rank is not None:
            return EnvironmentFault(
                f"{said} For {each.engine} something is not installed.",
                remedy=specs[each.engine].install or None,
            )
    return ConfigError(f"{said} Name one that can with --engine, or another model.")
