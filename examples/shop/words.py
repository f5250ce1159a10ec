"""What this shop's products are: the attributes, with their words in English and Chinese.

The bundled model reads the first five. `material` is in the table only: no image is asked for it.
"""

from __future__ import annotations

from silkline.catalog.composing import Composer
from silkline.catalog.vocabulary import Attribute, Vocabulary, Words


def _words(**values: str) -> dict[str, Words]:
    """Values with their words: `t_shirt="t-shirt, tee | T恤"`; a value is the first word."""
    pairs = (text.split("|") for text in values.values())
    split = [(_list(english), _list(chinese)) for english, chinese in pairs]
    return {english[0]: Words(en=english, zh=chinese) for english, chinese in split}


def _list(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


def _heading(en: str, zh: str) -> Words:
    return Words(en=(en,), zh=(zh,))


CATEGORIES = _words(
    mug="mug | 马克杯", t_shirt="t-shirt, tee | T恤", sneaker="sneaker, trainer | 运动鞋",
    backpack="backpack, rucksack | 双肩背包, 背包", lamp="lamp | 台灯", chair="chair | 椅子",
    bottle="bottle | 水瓶, 瓶子", watch="watch | 手表", table="table | 桌子",
    sofa="sofa, couch | 沙发", hat="hat | 帽子", glasses="glasses, spectacles | 眼镜",
    umbrella="umbrella | 雨伞", book="book | 书籍", laptop="laptop | 笔记本电脑",
    phone="phone, smartphone | 手机", headphones="headphones | 耳机", camera="camera | 相机",
    teapot="teapot | 茶壶", vase="vase | 花瓶", handbag="handbag, purse | 手提包",
    dress="dress | 连衣裙", trousers="trousers, pants | 长裤", sock="sock | 袜子",
)  # fmt: skip
COLOURS = _words(
    red="red | 红色", orange="orange | 橙色", yellow="yellow | 黄色", green="green | 绿色",
    blue="blue | 蓝色", purple="purple, violet | 紫色", pink="pink | 粉色, 粉红色",
    brown="brown | 棕色, 褐色", black="black | 黑色", white="white | 白色",
)  # fmt: skip
PATTERNS = _words(
    plain="plain | 纯色", striped="striped, stripes | 条纹",
    dotted="dotted, polka dots | 圆点, 波点", checked="checked, checkered | 格纹, 格子",
)  # fmt: skip
MATERIALS = _words(
    cotton="cotton | 棉", wool="wool | 羊毛", leather="leather | 皮革", steel="steel | 不锈钢",
    ceramic="ceramic | 陶瓷", wood="wood, wooden | 实木", glass="glass | 玻璃",
    plastic="plastic | 塑料", paper="paper | 纸张",
)  # fmt: skip

VOCABULARY = Vocabulary(
    (
        Attribute(name="category", heading=_heading("Item", "品类"), values=CATEGORIES),
        Attribute(name="colour", heading=_heading("Colour", "颜色"), values=COLOURS),
        Attribute(name="pattern", heading=_heading("Pattern", "图案"), values=PATTERNS),
        Attribute(
            name="count", heading=_heading("Number of items", "件数"), kind="number", max_number=9
        ),
        Attribute(
            name="label", heading=_heading("Text on the tag", "吊牌文字"), kind="text",
            max_characters=20,
        ),
        Attribute(
            name="material", heading=_heading("Material", "材质"), values=MATERIALS, visible=False
        ),
    )
)  # fmt: skip

COMPOSER = Composer(
    VOCABULARY,
    noun="category",
    adjectives=("colour", "pattern"),
    count="count",
    unsaid=("plain",),
)
