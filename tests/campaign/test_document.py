"""Case 21: what the OpenAPI document says is what the server does, whatever is sent to it."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.campaign.figures import record
from tests.campaign.sizes import sizes
from tests.campaign.standing import assert_no_defects, idle, metric, settled
from tests.serving import served

HERE = Path(__file__).parent
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance"
)
PROGRAM = Path(sys.executable).with_name("schemathesis")


@pytest.mark.parametrize("seconds", sizes(15, 600, minutes=15))
async def test_the_server_keeps_its_document(seed: int, seconds: float, tmp_path: Path) -> None:
    with served("--engine", "fake") as running:
        before = await idle(running)
        process = await asyncio.create_subprocess_exec(
            PROGRAM, "--config-file", HERE / "schemathesis.toml",
            "run", f"{running.url}/openapi.json", "--no-color", "--seed", str(seed),
            "--checks", CHECKS, "--phases", "examples,coverage,fuzzing",
            "--max-time", str(int(seconds)), "--request-timeout", "30",
            "--generation-database", "none",
            cwd=HERE.parents[1],
            env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.campaign.document_hooks"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        told = (await process.communicate())[0].decode()
        await settled(running, before)
        defects = metric(running.url, "silkline_requests_total", code="500")
    assert_no_defects(running)
    assert process.returncode == 0, told[-6000:]
    cases = re.search(r"(\d+) generated", told)
    operations = re.search(r"Selected: (\d+)/(\d+)", told)
    assert cases is not None
    assert operations is not None
    record(
        "21-document", seed=seed, whole=seconds > 60, seconds=seconds,
        cases=int(cases[1]), operations=int(operations[1]), failures=0,
    )  # fmt: skip
    assert operations[1] == operations[2]
    assert int(cases[1]) > 100
    assert defects == 0
