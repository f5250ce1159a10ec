"""Text from tokens, for every way to split a text."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.core import TokenLogprob
from silkline.engines.text_stream import CONTEXT_TOKENS, LogprobStream, TextStream
from silkline.errors import InvalidRequest

ALPHABET = "ab é陶🦉\ufffd"


class Tokens:
    """A text cut into tokens anywhere, as byte-level vocabularies do; counts what is decoded."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        self.decoded = 0

    def decode(self, tokens: Sequence[int]) -> str:
        self.decoded += len(tokens)
        return b"".join(self.pieces[token] for token in tokens).decode("utf-8", "replace")

    def whole(self) -> str:
        return self.decode(range(len(self.pieces)))


@st.composite
def cut_bytes(draw: st.DrawFn, content: st.SearchStrategy[bytes]) -> list[bytes]:
    data = draw(content)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=len(data))))
    edges = [0, *cuts, len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


texts = st.text(ALPHABET, max_size=80).map(str.encode)
stops = st.lists(st.text("ab é陶", min_size=1, max_size=4), max_size=3)


def streamed(tokens: Tokens, stop: Sequence[str], batch: int = 1) -> tuple[str, bool]:
    stream = TextStream(tokens.decode, stop)
    ids = range(len(tokens.pieces))
    text = "".join(stream.push(ids[at : at + batch]) for at in range(0, len(ids), batch))
    return text + stream.finish(), stream.stopped


def cut(text: str, stop: Sequence[str]) -> str:
    """The rule by brute force: the shortest beginning of the text that ends with a stop string."""
    for end in range(len(text) + 1):
        endings = [each for each in stop if text[:end].endswith(each)]
        if endings:
            return text[: end - max(map(len, endings))]
    return text


@given(pieces=cut_bytes(texts), stop=stops, batch=st.integers(1, 5))
def test_the_pieces_are_the_whole_cut_before_the_first_stop_string(
    pieces: list[bytes], stop: list[str], batch: int
) -> None:
    tokens = Tokens(pieces)
    text, stopped = streamed(tokens, stop, batch)
    assert text == cut(tokens.whole(), stop)
    assert stopped == (cut(tokens.whole() + "#", stop) != tokens.whole() + "#")


@given(pieces=cut_bytes(st.binary(max_size=60)), batch=st.integers(1, 5))
def test_bytes_that_are_no_text_are_all_replaced(pieces: list[bytes], batch: int) -> None:
    tokens = Tokens(pieces)
    assert streamed(tokens, (), batch)[0] == tokens.whole()


def test_tokens_without_text_change_nothing() -> None:
    tokens = Tokens([b"caf", "é".encode()[:1], *[b""] * 40, "é".encode()[1:], b"!"])
    assert streamed(tokens, ()) == ("café!", False)


@given(words=st.lists(st.sampled_from(["▁a", "▁b", "c", "▁"]), max_size=60))
def test_a_decoder_that_strips_the_first_space_changes_nothing(words: list[str]) -> None:
    """SentencePiece vocabularies mark the space before a word, and drop the first of a text."""

    def decode(tokens: Sequence[int]) -> str:
        text = "".join(words[token] for token in tokens).replace("▁", " ")
        return text.removeprefix(" ")

    stream = TextStream(decode)
    text = "".join(stream.push((token,)) for token in range(len(words))) + stream.finish()
    assert text == decode(range(len(words)))


@given(words=st.lists(st.sampled_from(["▁a", "b", "é", "陶", "🦉"]), max_size=60))
def test_byte_fallback_decoders_show_whole_characters(words: list[str]) -> None:
    """They replace each byte of a run of byte tokens while the run is not valid as a whole."""
    tokens: list[str | int] = []
    for word in words:
        tokens += [word] if word.isascii() or "▁" in word else list(word.encode())

    def decode(ids: Sequence[int]) -> str:
        text = ""
        for is_byte, run in itertools.groupby(ids, lambda token: isinstance(tokens[token], int)):
            if not is_byte:
                text += "".join(str(tokens[token]) for token in run).replace("▁", " ")
                continue
            data = bytes(int(tokens[token]) for token in run)
            try:
                text += data.decode()
            except UnicodeDecodeError:
                text += "\ufffd" * len(data)
        return text

    stream = TextStream(decode)
    text = "".join(stream.push((token,)) for token in range(len(tokens))) + stream.finish()
    assert text == "".join(words).replace("▁", " ")


def test_text_is_given_out_as_soon_as_it_is_certain() -> None:
    stream = TextStream(Tokens([b"a", "é".encode()[:1], "é".encode()[1:], b"b"]).decode)
    assert [stream.push((token,)) for token in range(4)] == ["a", "", "é", "b"]


def test_only_a_possible_beginning_of_a_stop_string_is_held_back() -> None:
    tokens = Tokens([b"one E", b"N", b"x E", b"ND two"])
    stream = TextStream(tokens.decode, ("END",))
    assert [stream.push((token,)) for token in range(4)] == ["one ", "", "ENx ", ""]
    assert stream.stopped
    assert stream.finish() == ""
    assert stream.push((0,)) == ""


def test_the_stop_string_that_is_complete_first_wins() -> None:
    assert streamed(Tokens([b"xabcd"]), ("abcd", "c")) == ("xab", True)
    assert streamed(Tokens([b"xa", b"bcd"]), ("abcd", "c")) == ("xab", True)
    assert streamed(Tokens([b"xabc"]), ("c", "abc")) == ("x", True)


@pytest.mark.parametrize(
    ("stop", "found"), [(("abcd", "c"), "c"), (("c", "abc"), "abc"), (("never",), "")]
)
def test_the_stop_string_that_ended_the_text_is_known(stop: tuple[str, ...], found: str) -> None:
    stream = TextStream(Tokens([b"xa", b"bcd"]).decode, stop)
    stream.push((0, 1))
    stream.finish()
    assert stream.found == found


@pytest.mark.parametrize("content", [b"word ", "é".encode(), "🦉".encode(), b"\xff", b"\x80"])
def test_a_token_costs_the_same_however_long_the_answer_is(content: bytes) -> None:
    count = 3000
    tokens = Tokens([content[at % len(content) :][:1] for at in range(count)])
    streamed(tokens, ())
    assert tokens.decoded < count * 4 * CONTEXT_TOKENS


@given(pieces=cut_bytes(texts), stop=stops, batch=st.integers(1, 5))
def test_the_stop_string_can_be_kept(pieces: list[bytes], stop: list[str], batch: int) -> None:
    tokens = Tokens(pieces)
    stream = TextStream(tokens.decode, stop, include_stop=True)
    ids = range(len(pieces))
    text = "".join(stream.push(ids[at : at + batch]) for at in range(0, len(ids), batch))
    text += stream.finish()
    whole = tokens.whole()
    ends = [end for end in range(len(whole) + 1) if whole[:end].endswith(tuple(stop))]
    assert text == (whole[: ends[0]] if stop and ends else whole)
    assert stream.returned == len(text)


@given(pieces=cut_bytes(texts), stop=stops, keep=st.booleans())
def test_each_token_comes_with_its_text(pieces: list[bytes], stop: list[str], keep: bool) -> None:
    """By brute force: a token is kept if it begins before the end of the text that is sent."""
    pieces = [piece for piece in pieces if piece]
    tokens = Tokens(pieces)
    stream = TextStream(tokens.decode, stop, include_stop=keep)
    logprobs = LogprobStream(stream)
    text = ""
    taken: list[TokenLogprob] = []
    for index in range(len(pieces)):
        if stream.stopped:
            break
        text += stream.push((index,))
        logprobs.add(TokenLogprob("", pieces[index], -float(index)))
        taken += logprobs.take()
        assert len(taken) <= index + 1
        assert not text or taken
    text += stream.finish()
    taken += logprobs.take(ended=True)
    sent, size = len(text.encode()), 0
    expected = []
    for piece in pieces:
        if size < sent:
            expected.append(piece)
        size += len(piece)
    assert [each.data for each in taken] == expected


def test_an_incomplete_character_at_the_end_has_its_tokens() -> None:
    pieces = [b"a", *(bytes((byte,)) for byte in "🦉".encode()[:3])]
    stream = TextStream(Tokens(pieces).decode)
    logprobs = LogprobStream(stream)
    taken: list[int] = []
    for index, piece in enumerate(pieces):
        stream.push((index,))
        logprobs.add(TokenLogprob("", piece, 0.0))
        taken.append(len(logprobs.take()))
    assert taken == [1, 0, 0, 0]
    stream.finish()
    assert len(logprobs.take(ended=True)) == 3


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        TextStream(Tokens([]).decode, ("x", ""))
