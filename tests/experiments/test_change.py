"""What a candidate answers differently: images, prompt and sampling of a question."""

from silkline.config import Changes
from silkline.core import ImagePart, Message, Role, Sampling, TextPart
from silkline.experiments.change import changed
from silkline.ingress.pixels import PixelRange
from silkline.ingress.source import EncodedSource
from silkline.service.question import Question

ASKED = Question(
    model="m",
    messages=(
        Message(Role.SYSTEM, (TextPart("Be kind."),)),
        Message(Role.USER, (TextPart("first"),)),
        Message(Role.ASSISTANT, (TextPart("yes"),)),
        Message(Role.USER, (ImagePart(0), TextPart("second"))),
    ),
    sources=(EncodedSource("QUJD", "image"),),
    sampling=Sampling(temperature=0.3, top_p=0.9, max_tokens=100),
    stream=False,
    unset=frozenset({"top_p"}),
)


def test_without_changes_the_question_is_the_same() -> None:
    assert changed(ASKED, Changes()) is ASKED


def test_images_are_reduced_and_never_enlarged() -> None:
    (source,) = changed(ASKED, Changes(max_pixels=576)).sources
    assert source.pixels == PixelRange(max_pixels=576)
    small = EncodedSource("QUJD", "image", PixelRange(max_pixels=100))
    asked = Question("m", ASKED.messages, (small,), ASKED.sampling, stream=False)
    assert changed(asked, Changes(max_pixels=576)).sources == (small,)


def test_the_system_message_is_replaced_and_the_last_user_message_gets_the_prefix() -> None:
    told = changed(ASKED, Changes(system="Be brief.", prefix="Look closely.")).messages
    assert [message.role for message in told] == [
        Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER,
    ]  # fmt: skip
    assert told[0].parts == (TextPart("Be brief."),)
    assert told[1] == ASKED.messages[1]
    assert told[3].parts == (TextPart("Look closely."), *ASKED.messages[3].parts)


def test_sampling_that_the_request_names_stays() -> None:
    found = changed(ASKED, Changes(temperature=1.0, top_p=0.5, max_tokens=40))
    assert found.sampling == Sampling(temperature=0.3, top_p=0.5, max_tokens=40)
    assert found.unset == frozenset()
    assert changed(ASKED, Changes(max_tokens=400)).sampling.max_tokens == 100
