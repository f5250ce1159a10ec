"""The errors of a start in another process: sent as their kind and message, raised again here."""

from __future__ import annotations

from typing import Literal, TypeAlias

from silkline.errors import ConfigError, EnvironmentFault, InternalFault, SilklineError

FaultKind: TypeAlias = Literal["environment", "config", "failed"]

START_ERRORS: dict[FaultKind, type[SilklineError]] = {
    "environment": EnvironmentFault,
    "config": ConfigError,
    "failed": InternalFault,
}
"""The error that a kind is raised as."""


def kind_of(error: SilklineError) -> FaultKind:
    """The kind under which an error is sent."""
    if isinstance(error, EnvironmentFault):
        return "environment"
    return "config" if isinstance(error, ConfigError) else "failed"
