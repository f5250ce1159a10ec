"""The tokens of an image, against what the families' own processors count."""

import random
from pathlib import Path

import pytest
import transformers

from silkline.models.families import find_family
from silkline.models.token_rules import read_documents
from tests.engines.torch.reference import processor
from tests.engines.torch.tiny import INSTALLED, Tiny, save_files

DICE = random.Random(7)
SIZES = [(DICE.randint(8, 300), DICE.randint(8, 300)) for _ in range(300)]
SIZES += [(64, 64), (32, 32), (33, 31), (300, 20), (20, 300), (1920, 1080), (4000, 3000)]


MAJOR = int(transformers.__version__.split(".")[0])
WITH_MARKERS = {"idefics3", "smolvlm", "internvl"}
"""Families whose processor also counts the special tokens around and between the features."""


@pytest.mark.parametrize(
    "tiny",
    [tiny for tiny in INSTALLED if tiny.model_type != "blip-2"],  # whose processor does not count
    ids=lambda tiny: tiny.id,
)
def test_images_take_as_many_tokens_as_the_familys_processor_counts(
    tiny: Tiny, tmp_path: Path
) -> None:
    save_files(tiny, tmp_path)
    files = read_documents(tmp_path)
    family = find_family(files.config)
    assert family is not None
    rule = family.image_tokens(files)
    assert rule is not None
    own = processor(tiny, tmp_path)
    counted = own._get_num_multimodal_tokens(image_sizes=[[h, w] for w, h in SIZES])
    counts = [rule.count(width, height) for width, height in SIZES]
    markers = tiny.model_type in WITH_MARKERS
    # From 5 on, Idefics3 also counts the line break before the small copy, which tokenizers join
    # with the one that ends the last row.
    breaks = tiny.processor in {"Idefics3Processor", "SmolVLMProcessor"} and MAJOR > 4
    found = [
        (count.total + (breaks and count.markers > 3)) if markers else count.features
        for count in counts
    ]
    assert found == list(counted["num_image_tokens"])
