"""choice_accuracy: which choice an answer names."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.evaluate.metrics import choices
from tests.evaluate.items import item

COLOURS = ("red", "blue", "green", "yellow")
TEN = tuple(f"shape {number}" for number in range(1, 11))
LIKE_LETTERS = ("a dog", "a cat", "I", "DNA")


@pytest.mark.parametrize(
    "said",
    ["B", "b", "(B)", "B)", "B.", "B:", "[B]", "**B**", "*B*", "__B__", "`B`", "**(B)**",
     "**B.** it is",
     "\uff22", "\uff08\uff22\uff09", "“B”", " B \n", "B\nThe sky is seen.", "The sky is seen.\n\nB",
     "The sky is seen.\n**B**",
     "- B", "B. blue", "B) blue", "(B) blue", "B: it is blue", "B、blue", "B - blue", "**B. blue**",
     "The answer is B.", "The answer is **B**.", "the answer is (b)", "Answer: B", "**Answer:** B",
     "**Answer: B**", "ANSWER: B", "Answer:\nB", "Final answer: B",
     "The correct answer is B because it is.",
     "The answer is option B.", "Answer: (B) blue", "Answer B", "The correct option is B.",
     "Option B", "option B is correct", "The best choice is B", "I choose B.", "I'd go with B.",
     "B is correct.", "So B is the right answer", r"\boxed{B}", r"$\boxed{\text{B}}$",
     r"So we get \boxed{(b)}.", "<answer>B</answer>", "<answer> b", '{"answer": "B"}',
     '```json\n{"choice": "B"}\n```', "答案是B", "答案\uff1aB", "答案为 B。", "答案应为B",
     "正确答案是\uff08B\uff09。",
     "选B", "我选择B",
     "故选\uff1aB。", "选B项", "选项B", "不选A\uff0c选B", "正解はBです。", "정답은 B입니다.",
     "It is not A; (B)", "A is wrong. The answer is B.", "(A) is wrong, (B) is right",
     "The answer is A. No: the answer is B.", "Answer: B, I think", "Answer: B, not A",
     "It is up there: B",
     "B, because the sky is seen", "A. red\nB. blue\nC. green\nD. yellow\nAnswer: B",
     "blue", "Blue.", "The blue", "**blue**", "The answer is blue.", "Answer: **blue**",
     r"\boxed{blue}",
     "答案是blue。", "Blue\nThe sky is seen.", "I choose blue.",
     "Option A is wrong, option B fits",
     "B.blue", "\uff08B\uff09蓝色", "选项B正确", "B正确", "# B", "> B",
     "The answer to the question is B.", "<think>A seems right</think>B",
     "<think>The answer is A, or is it?</think>\nB", "The answer is A?\n</think>\n\nblue"],
)  # fmt: skip
def test_an_answer_names_the_second_choice(said: str) -> None:
    assert choices.chosen(COLOURS, said) == 1


@pytest.mark.parametrize(
    "said",
    ["", " ", ".", "...", "E", "Answer: E", "(E)", r"\boxed{E}", "A or B", "A and B", "A, B", "A/B",
     "(A) or (B)",
     "The answer is A or B.", "Answer: A and C", "Answer: A, B", r"\boxed{A and B}", "选A或B",
     "ABCD",
     "A. red\nB. blue", "A\nB", "**A** or **B**", "red or blue", "red\nblue", "A dog is shown.",
     "a dog",
     "Answer: a dog", "The answer is a small dog.", "I see a dog", "A red dog", "It is a b",
     "The answer is not B",
     "I would not choose B.", "(B) is wrong", "Option B is incorrect", "Vitamin B",
     "Plan B is good.", "cat(b)",
     "field_B", "B2", "DNA.", "the value of C", "because", "It shows the blue sky",
     "No letter here",
     "Answer: none", "I pick B. Final answer: unknown", "e.g. a box", "B.C. was long ago",
     "答案不确定",
     "图B显示"],
)  # fmt: skip
def test_an_answer_names_no_choice(said: str) -> None:
    assert choices.chosen(COLOURS, said) is None


@pytest.mark.parametrize(
    ("offered", "said", "place"),
    [
        (TEN, "I", 8), (TEN, "The answer is I.", 8), (TEN, "I think it is blurred", None),
        (TEN, "J", 9), (TEN, "Answer: j", 9), (TEN, "K", None),
        (TEN, "Final answer: I cannot say", None),
        (LIKE_LETTERS, "A dog", 0), (LIKE_LETTERS, "The answer is a cat.", 1),
        (LIKE_LETTERS, "I", 2),
        (LIKE_LETTERS, "C", 2), (LIKE_LETTERS, "The answer is DNA", 3), (LIKE_LETTERS, "A", 0),
        (("B", "A"), "B", 0), (("B", "A"), "The answer is B", 0),
        (("3.5", "35"), "Answer: 3.5.", 0),
        (("-1", "1"), "\u22121", 0), (("-1", "1"), "+1", 1), (("-1", "1"), "The answer is -1", 0),
        (("1/2", "2"), "0.5", 0), (("5 cm", "5 mm"), "5mm", 1),
        (("C", "C++", "C#"), "Answer: C#", 2),
        (("$5", "$50"), "The answer is $5.", 0), (("cafe", "caf\u00e9"), "cafe\u0301", 1),
        (("-", "+"), "+", 1), (("!", "?"), ".", None), (("是", "否"), "答案是否", 1),
        (("x<2", "x>2"), "x > 2", 1),
        (("the mug", "mug"), "Mug", 1), (("red", "Red"), "RED", None), (("yes", "no"), "No.", 1),
    ],
)  # fmt: skip
def test_a_text_goes_before_a_letter(
    offered: tuple[str, ...], said: str, place: int | None
) -> None:
    assert choices.chosen(offered, said) == place


WORDING = [
    "{0}",
    "({0})",
    "{0}. It fits.",
    "The answer is {0}",
    "**{0}**",
    r"\boxed{{{0}}}",
    "选{0}",
]


@given(st.integers(2, 26), st.data(), st.sampled_from(WORDING), st.booleans())
def test_each_letter_works_in_each_wording(
    count: int, data: st.DataObject, wording: str, lower: bool
) -> None:
    place = data.draw(st.integers(0, count - 1))
    offered = [f"choice number {number}" for number in range(100, 100 + count)]
    letter = string.ascii_uppercase[place]
    said = wording.format(letter.lower() if lower else letter)
    assert choices.chosen(offered, said) == place
    assert choices.choice_accuracy(item(offered[place], choices=offered), said) == 1
    assert choices.chosen(offered[:place] or ["x", "y"], said) is None or place < 2


PARTS = st.sampled_from(
    ["A", "b", "(", ")", "*", "answer", " is ", ":", "\n", "red", "blue", " ", "I", "选",
     "\\boxed{",
     "}",
     "option", "or", "not", ".", ",", "<answer>", "答案", "_", "$"]
)  # fmt: skip


@settings(deadline=None)
@given(
    st.text(max_size=40) | st.lists(PARTS, max_size=12).map("".join),
    st.lists(st.text(max_size=5).map(str.strip), min_size=2, max_size=5, unique=True),
)
def test_any_text_names_a_choice_or_none(said: str, offered: list[str]) -> None:
    named = choices.chosen(offered, said)
    assert named is None or 0 <= named < len(offered)
    assert [choices.chosen(offered, one) for one in offered] == list(range(len(offered)))


@pytest.mark.parametrize(
    "part", ["answer: ", "\n", "*", "_*", "(A", "option a ", "\\text{", "B, ", "选", "- ", "A\n"]
)
def test_an_answer_of_any_length_is_read(part: str) -> None:
    assert choices.chosen(COLOURS, part * 20_000 + "\nAnswer: C") == 2
