"""The files of the target `ci`."""

from __future__ import annotations

import json

from silkline.config import Settings
from silkline.deploy.documents import from_template
from silkline.deploy.target import Files, Target

_PACKAGE = "silkline.deploy.ci"
_STORE = "/var/lib/silkline-ship"
"""Kept between jobs, so that a job continues what a stopped one began."""

_FILES = {"github/silkline.yml": "github.yml.jinja", "gitlab/silkline.yml": "gitlab.yml.jinja"}


def _files(settings: Settings) -> Files:
    values = {"model": json.dumps(settings.engine.model), "store": _STORE}
    return {name: from_template(_PACKAGE, file, **values) for name, file in _FILES.items()}


CI = Target("ci", "jobs for GitHub Actions and GitLab CI that run `silkline ship`", _files)
