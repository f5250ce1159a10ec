"""The scorers of this package."""

from __future__ import annotations

from silkline.experiments.scorers.compared import AGREEMENT, SCHEMA
from silkline.experiments.scorers.http import HTTP
from silkline.experiments.scorers.judge import JUDGE

OWN = {"agreement": AGREEMENT, "schema": SCHEMA, "http": HTTP, "judge": JUDGE}
"""By the name in `scorers`; others come from entry points."""
