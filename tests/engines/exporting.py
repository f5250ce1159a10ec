"""The environments that export, kept from one run of the tests to the next."""

from pathlib import Path

from silkline.engines.openvino.export.environment import export_environment

CACHE = {"XDG_CACHE_HOME": str(Path(__file__).parents[2] / ".cache")}


def exporting_python(group: str) -> Path:
    """The Python that exports a group of model types; makes its environment the first time."""
    return export_environment(group, CACHE).python(print)
