"""From what the user calls a model to the bundle that is served."""

from __future__ import annotations

from pathlib import Path

from silkline.errors import ConfigError
from silkline.models.bundle import MANIFEST, Bundle, load_bundle

BUNDLED_MODEL = "silkline-mini"


def bundled_folder() -> Path:
    """Where the bundled model lies inside the installed package."""
    return Path(__file__).parent / "mini"


def resolve_model(model: str) -> Bundle:
    """Finds a model and checks that its files are whole.

    Args:
        model: `silkline-mini`, or the path of a bundle's folder.

    Raises:
        ConfigError: There is no such model, or files of it are missing or damaged.
    """
    folder = bundled_folder() if model == BUNDLED_MODEL else Path(model).expanduser()
    if not (folder / MANIFEST).is_file():
        raise ConfigError(
            f"There is no model {model}: expected {BUNDLED_MODEL} or the folder of a bundle "
            f"(a folder with a {MANIFEST})."
        )
    bundle = load_bundle(folder)
    if damaged := bundle.damaged_files():
        raise ConfigError(
            f"Files of the bundle {model} are missing or damaged: {', '.join(damaged)}. "
            "Install or copy the bundle again."
        )
    return bundle
