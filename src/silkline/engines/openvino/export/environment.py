"""The environments that export models: virtual environments with pinned packages, made on demand.

The exporter needs another version of transformers for each group of model types. An environment
holds the packages in `pins/common.txt` and in the file of its group. Everything else, Silkline and
OpenVINO among it, comes from the environment that Silkline runs in, so an export is proved by the
engine that will serve it. A package that is there in the pinned version is not installed again:
with the pinned torch, an environment takes 0.3 GB instead of 1.6.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from silkline.engines.openvino.export.child import read_lines
from silkline.errors import EnvironmentFault
from silkline.models.file_lock import locked
from silkline.models.store import cache_home

OnProgress = Callable[[str], None]
"""Called with a human-readable status; what it raises ends the work."""

_PINS = Path(__file__).with_name("pins")
_COMMON = "common"
_TORCH = "torch"
_READY = "ready"
_DIGEST_LENGTH = 12
_LAST_CHARS = 300
_TOLD = ("Collecting", "Downloading", "Installing", "ERROR")
"""How lines of pip begin that say what it does."""

_PATH_FILE = "silkline.pth"
_PIP = ("-m", "pip", "install", "--only-binary", ":all:", "--no-input", "--progress-bar", "off")


class ExportEnvironment(NamedTuple):
    """The environment of a group of model types, which need not exist yet.

    Attributes:
        group: Its name, such as `transformers-4.57`.
        pins: Its packages and their versions.
        folder: Its folder.
    """

    group: str
    pins: Mapping[str, str]
    folder: Path

    def python(self, on_progress: OnProgress) -> Path:
        """The environment's Python; makes the environment if it is missing.

        Args:
            on_progress: Called with the status at least every second.

        Raises:
            EnvironmentFault: It cannot be made: no package index can be reached or it lacks a
                package, Python lacks `venv`, or the disk is full.
        """
        python = Path("bin") / "python"
        if not (self.folder / _READY).is_file():
            self._build(python, on_progress)
        return self.folder / python

    def _build(self, python: Path, on_progress: OnProgress) -> None:
        parent, name = self.folder.parent, self.folder.name
        began = time.monotonic()

        def waiting() -> None:
            seconds = time.monotonic() - began
            on_progress(f"another process makes the export environment; waiting, {seconds:.0f} s")

        try:
            parent.mkdir(parents=True, exist_ok=True)
            with locked(parent / f"{name}.lock", waiting):
                if (self.folder / _READY).is_file():
                    return
                for left in parent.glob(f"{name}.draft-*"):
                    shutil.rmtree(left, ignore_errors=True)
                shutil.rmtree(self.folder, ignore_errors=True)
                draft = Path(tempfile.mkdtemp(prefix=f"{name}.draft-", dir=parent))
                try:
                    self._fill(draft, draft / python, on_progress)
                    draft.rename(self.folder)
                finally:
                    shutil.rmtree(draft, ignore_errors=True)
        except OSError as error:
            raise EnvironmentFault(
                f"The export environment {self.folder} cannot be made: {error.strerror}. Free some "
                "space there, or set XDG_CACHE_HOME to a folder on another disk."
            ) from error

    def _fill(self, draft: Path, python: Path, on_progress: OnProgress) -> None:
        files = [_PINS / f"{name}.txt" for name in (_COMMON, self.group)]
        on_progress(f"making the export environment {self.group}")
        _create(draft)
        site = sysconfig.get_path("purelib", vars={"base": str(draft), "platbase": str(draft)})
        own = sysconfig.get_path("purelib")
        (Path(site) / _PATH_FILE).write_text(f"import site; site.addsitedir({own!r})\n")
        began = time.monotonic()

        def install(*arguments: str) -> None:
            def said(line: str) -> None:
                seconds = time.monotonic() - began
                on_progress(f"making the export environment {self.group}, {seconds:.0f} s: {line}")

            if failed := _run((str(python), *_PIP, *arguments), said):
                raise self._not_installed(files, failed)

        # Without their dependencies: the files list them all but torchvision, which the exporter
        # names and does not use, and which fails beside a torch of another build.
        install("--no-deps", *(part for file in files for part in ("--requirement", str(file))))
        install(f"{_TORCH}=={self.pins[_TORCH]}")  # its dependencies differ by platform
        (draft / _READY).touch()

    def _not_installed(self, files: Sequence[Path], failed: str) -> EnvironmentFault:
        listed = " ".join(f"-r {file}" for file in files)
        return EnvironmentFault(
            f"pip could not install the packages that export this model ({failed}). The export "
            "needs a package index, once. Without one, download them on another machine, copy the "
            "folder here and start again with PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels; or serve the "
            "model with --engine torch.",
            remedy=f"pip download --no-deps -d wheels {listed}",
        )


def export_environment(group: str, environment: Mapping[str, str]) -> ExportEnvironment:
    """The environment of a group; looks at no network and makes nothing.

    Args:
        group: The group's name, which is also that of its file of pins.
        environment: The environment variables, to find the user's cache folder.

    Raises:
        ConfigError: The home directory is unknown.
    """
    pins = pins_of(group)
    shared = sorted(name for name, wanted in pins.items() if _installed(name) == wanted)
    # What it is made of and what it stands on: with another Silkline it would find other packages.
    basis = repr(
        (sorted(pins.items()), shared, sys.version_info[:2], sysconfig.get_path("purelib"))
    )
    digest = hashlib.sha256(basis.encode()).hexdigest()[:_DIGEST_LENGTH]
    return ExportEnvironment(
        group, pins, cache_home(environment) / "environments" / f"{group}-{digest}"
    )


def pins_of(group: str) -> dict[str, str]:
    """The versions in the environment of a group, by package."""
    return _read(_COMMON) | _read(group)


def _read(name: str) -> dict[str, str]:
    pins: dict[str, str] = {}
    for line in (_PINS / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            package, wanted = line.split("==")
            pins[package] = wanted
    return pins


def _installed(name: str) -> str | None:
    """The version that Silkline's own environment has, without the build, such as `+cpu`."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return None


def _create(folder: Path) -> None:
    missing = _installed("pip") is None  # else that of Silkline's own environment is found
    try:
        venv.EnvBuilder(with_pip=missing, symlinks=True).create(folder)
    except subprocess.CalledProcessError as error:
        raise EnvironmentFault(
            "The export environment cannot be made: this Python has no working venv and ensurepip.",
            remedy="apt-get install python3-venv",
        ) from error


def _run(command: Sequence[str], said: Callable[[str], None]) -> str:
    """Runs pip; returns why it failed, empty if it did not."""
    texts = ["pip starts"]
    with subprocess.Popen(  # noqa: S603 - the environment's own Python
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as child:
        if child.stdout is None:
            return "it was started without pipes"
        try:
            for line in read_lines(child.stdout, lambda: said(texts[-1])):
                text = line.decode(errors="replace").strip()
                if text.startswith(_TOLD):
                    texts.append(text[:_LAST_CHARS])
                    said(texts[-1])
            return texts[-1] if child.wait() else ""
        finally:
            child.kill()
