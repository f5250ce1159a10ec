import pytest

from silkline.catalog.claims import claims

MADE = [
    ("the best mug", "superlative"),
    ("The World's BEST mug", "superlative"),
    ("our No. 1 mug", "superlative"),
    ("全球第一", "superlative"),
    ("guaranteed for life", "guarantee"),
    ("money-back", "guarantee"),
    ("保证不褪色", "guarantee"),
    ("cures headaches", "health"),
    ("抗菌面料", "health"),
    ("certified cotton", "certificate"),
    ("正品", "certificate"),
    ("eco-friendly", "environment"),
    ("环保材质", "environment"),
    ("waterproof", "safety"),
    ("only 3 left", "hurry"),
    ("限时抢购", "hurry"),
    ("dermatologist-tested", "health"),
    ("包治百病", "health"),
    ("100% natural", "guarantee"),
    ("chemical-free", "safety"),
    ("\uff45\uff43\uff4f-friendly", "environment"),  # full-width letters
    ("w\u0430terproof", "safety"),  # a Cyrillic letter
    ("water\u00adproof", "safety"),  # a soft hyphen
]
HARMLESS = [
    "A red striped mug",
    "Colour: green",
    "红色条纹马克杯",
    'with the text "ECO"',
    "a test",
    "100% cotton",
]


@pytest.mark.parametrize(("text", "kind"), MADE)
def test_a_claim_is_found(text: str, kind: str) -> None:
    assert kind in {one.kind for one in claims(text)}


@pytest.mark.parametrize("text", HARMLESS)
def test_a_fact_is_no_claim(text: str) -> None:
    assert claims(text) == ()


def test_a_claim_that_the_shop_can_prove_passes_and_no_other() -> None:
    assert claims("Waterproof to 30 m", ["waterproof"]) == ()
    assert claims("waterproof and fireproof", ["Waterproof"])[0].text == "fireproof"
