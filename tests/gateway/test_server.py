"""The server refuses what it was not tested with."""

import tomllib
from pathlib import Path

import pytest
import uvicorn

from silkline.errors import EnvironmentFault
from silkline.gateway.server import check_uvicorn

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.mark.parametrize("version", ["0.40.0", "0.54.3", uvicorn.__version__])
def test_a_tested_uvicorn_is_taken(version: str) -> None:
    check_uvicorn(version)


@pytest.mark.parametrize("version", ["0.39.9", "0.55.0", "1.0.0"])
def test_another_uvicorn_is_refused_by_name(version: str) -> None:
    with pytest.raises(EnvironmentFault, match=f"uvicorn {version} is installed") as refused:
        check_uvicorn(version)
    assert "pip install" in (refused.value.remedy or "")


def test_the_package_asks_for_a_tested_uvicorn() -> None:
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    assert "uvicorn>=0.40,<0.55" in project["dependencies"]
