"""Case 10: the files that imagecodecs tests itself with, most of them of formats that Pillow half
knows: unusual TIFFs, lossless JPEGs, wide samples, data that is no picture at all.
"""

import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from silkline.config import DecodeSettings
from silkline.core import PixelBudget
from silkline.errors import ImageFormat, ImageTooLarge, ImageUndecodable, InvalidRequest
from silkline.ingress.decode import DecoderPool
from tests.processes import DECODER, children

CORPUS = Path(__file__).parents[2] / ".cache" / "corpus"
PACKAGE = "imagecodecs==2026.3.6"
LIMIT = 50_000_000
BUDGET = PixelBudget(shortest_edge=224)
HANG_SECONDS = 5.0


def corpus() -> Iterator[tuple[str, bytes]]:
    """The files in the source package, which pip downloads once."""
    archive = CORPUS / (PACKAGE.replace("==", "-") + ".tar.gz")
    if not archive.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", "imagecodecs", "--dest", str(CORPUS), PACKAGE]
        subprocess.run(command, check=True)
    with tarfile.open(archive) as package:
        for member in package:
            file = package.extractfile(member) if "/tests/" in member.name else None
            if file is not None:
                yield member.name, file.read()


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_imagecodecs_own_files() -> None:
    outcomes: dict[str, int] = {}
    async with DecoderPool(DecodeSettings(decode_timeout=HANG_SECONDS)) as pool:
        before = children(DECODER)
        for name, data in corpus():
            begun = time.monotonic()
            try:
                image = (await pool.decode(data, LIMIT, BUDGET)).image
                assert len(image.pixels) == image.width * image.height * 3
                outcome = "decoded"
            except (ImageFormat, ImageTooLarge, ImageUndecodable, InvalidRequest) as error:
                outcome = type(error).__name__
            assert time.monotonic() - begun < HANG_SECONDS, name
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        assert children(DECODER) == before  # not one of them had to be replaced
    print(outcomes)  # noqa: T201 - the figures of the campaign
    assert outcomes["decoded"] > 30
    assert sum(outcomes.values()) > 200
