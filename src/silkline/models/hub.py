"""Reads the local Hugging Face cache, without the network and without huggingface_hub.

The layout is documented (https://huggingface.co/docs/huggingface_hub/guides/manage-cache) and
shared by every tool that uses it: `models--ORG--NAME/refs/REVISION` holds a commit, and
`snapshots/COMMIT/` the files of that commit, which are links into `blobs/`; data sets are in
`datasets--ORG--NAME`. Reading it takes less code than a dependency on a client that can also write
and download. To download, users run that client's command, `hf download`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from silkline.errors import EnvironmentFault
from silkline.models.home import expanded

DEFAULT_REVISION = "main"

_ID = re.compile(
    r"(?P<org>[A-Za-z0-9][\w.-]{0,95})/(?P<name>[A-Za-z0-9][\w.-]{0,95})"
    r"(?:@(?P<revision>[\w./-]{1,200}))?",
    re.ASCII,
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_REF_BYTES = 64


class RepositoryKind(StrEnum):
    """The type of a hub repository, as in `hf download --repo-type`."""

    MODEL = "model"
    DATASET = "dataset"


class HubId(NamedTuple):
    """A repository of the hub.

    Attributes:
        repository: "org/name".
        revision: A branch, a tag or a commit.
        kind: Its type.
    """

    repository: str
    revision: str
    kind: RepositoryKind = RepositoryKind.MODEL

    @property
    def download(self) -> str:
        """The command that downloads it into the local cache."""
        kind = "" if self.kind is RepositoryKind.MODEL else f" --repo-type {self.kind}"
        revision = "" if self.revision == DEFAULT_REVISION else f" --revision {self.revision}"
        return f"hf download {self.repository}{kind}{revision}"


class Snapshot(NamedTuple):
    """The files of one commit in the local cache.

    Attributes:
        folder: The folder of the files; they may be links to other files in `repository`.
        commit: The commit.
        repository: The cache's folder for this repository.
    """

    folder: Path
    commit: str
    repository: Path


def parse_hub_id(text: str, kind: RepositoryKind = RepositoryKind.MODEL) -> HubId | None:
    """Parses `org/name` or `org/name@revision`; None if the text is neither."""
    found = _ID.fullmatch(text)
    if found is None or any(bad in text for bad in ("..", "--", "//")):
        return None
    revision = found["revision"] or DEFAULT_REVISION
    if revision.startswith("/") or revision.endswith("/"):
        return None
    return HubId(f"{found['org']}/{found['name']}", revision, kind)


def cache_folder(environment: Mapping[str, str]) -> Path:
    """The cache's folder: `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or the default folder.

    Reads the same variables in the same order as huggingface_hub
    (https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables).
    """
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if named := environment.get(variable):
            return expanded(named)
    if home := environment.get("HF_HOME"):
        return expanded(home) / "hub"
    caches = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(caches) / "huggingface" / "hub"


def find_snapshot(wanted: HubId, cache: Path) -> Snapshot:
    """Finds a repository's files in the cache.

    Raises:
        EnvironmentFault: The repository or its revision is not there; the message names the cache
            folder and the command that downloads it.
    """
    repository = cache / f"{wanted.kind}s--{wanted.repository.replace('/', '--')}"
    if not repository.is_dir():
        raise _absent(wanted, f"{wanted.repository} is not in the local cache ({cache}).")
    commit = _commit(repository, wanted.revision)
    if commit is None:
        known = ", ".join(_revisions(repository)) or "none"
        raise _absent(
            wanted,
            f"The local cache has {wanted.repository}, but not its revision {wanted.revision}; "
            f"it has: {known}.",
        )
    folder = repository / "snapshots" / commit
    if not folder.is_dir():
        raise _absent(wanted, f"The local cache has no files of {wanted.repository}@{commit}.")
    return Snapshot(folder, commit, repository)


def _commit(repository: Path, revision: str) -> str | None:
    """The commit of a revision, which may be a commit already; None if it is unknown."""
    if _COMMIT.fullmatch(revision):
        return revision
    try:
        with (repository / "refs" / revision).open("rb") as file:
            commit = file.read(_MAX_REF_BYTES).decode("ascii", errors="replace").strip()
    except OSError:  # no such branch or tag: the caller reports it
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def _revisions(repository: Path) -> list[str]:
    refs, snapshots = repository / "refs", repository / "snapshots"
    named = [
        path.relative_to(refs).as_posix() for path in sorted(refs.rglob("*")) if path.is_file()
    ]
    commits = [path.name for path in sorted(snapshots.glob("*")) if path.is_dir()]
    return [*named, *commits][:20]


def _absent(wanted: HubId, message: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{message} Silkline reads the cache and downloads nothing itself; the command `hf` comes "
        "with the package huggingface_hub.",
        remedy=wanted.download,
    )
