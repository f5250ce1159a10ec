"""The bytes of tokens, for each way in which tokenizers write them."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from silkline.engines.token_bytes import read_token_bytes
from silkline.errors import ConfigError
from silkline.models.resolve import bundled_folder

TEXT = "größer 陶瓷 🦉?\n a  b\x00ÿ"


def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|é end|>"],
    )
    made.train_from_iterator([TEXT] * 20, trainer)
    return made


def byte_fallback() -> Tokenizer:
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a", "b", "ö"]
    vocabulary = {word: number for number, word in enumerate(words)}
    made = Tokenizer(models.BPE(vocabulary, [("▁", "a")], byte_fallback=True, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return made


def unigram() -> Tokenizer:
    pieces = [("<unk>", 0.0), *((f"<0x{byte:02X}>", -9.0) for byte in range(256))]
    pieces += [("▁", -2.0), ("▁a", -1.0), ("ö", -3.0)]
    made = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return made


@pytest.mark.parametrize("make", [byte_level, byte_fallback, unigram])
def test_the_bytes_of_all_tokens_are_those_of_the_text(make: Any, tmp_path: Path) -> None:
    tokenizer = make()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = read_token_bytes(tmp_path / "none", tmp_path)
    assert found is not None
    ids = tokenizer.encode(TEXT).ids
    assert len(ids) > 8
    assert b"".join(map(found.of, ids)).decode() == TEXT
    first = found.logprob(ids[-1], -0.5)
    assert (first.data, first.logprob) == ("ÿ".encode()[-len(first.data) :], -0.5)


def test_incomplete_bytes_are_replaced_in_the_text_only(tmp_path: Path) -> None:
    byte_fallback().save(str(tmp_path / "tokenizer.json"))
    found = read_token_bytes(tmp_path)
    assert found is not None
    token = found.logprob(1 + 0xE9, 1e-9)
    assert (token.token, token.data, token.logprob) == ("\ufffd", b"\xe9", 0.0)
    assert found.of(10_000) == b""


def test_added_tokens_stand_for_their_own_text(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = read_token_bytes(tmp_path)
    assert found is not None
    assert found.of(tokenizer.token_to_id("<|é end|>")) == "<|é end|>".encode()


def test_word_pieces_have_their_spaces(tmp_path: Path) -> None:
    words = {"[UNK]": 0, "lamp": 1, "##s": 2}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = read_token_bytes(tmp_path)
    assert found is not None
    assert (found.of(1), found.of(2)) == (b" lamp", b"s")


def test_the_bundled_model_has_bytes_for_each_token() -> None:
    folder = bundled_folder()
    found = read_token_bytes(folder)
    assert found is not None
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert all(found.of(token) for token in range(tokenizer.get_vocab_size()))
    ids = tokenizer.encode(TEXT).ids
    assert b"".join(map(found.of, ids)).decode() == TEXT


def test_without_a_file_there_are_none_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    assert read_token_bytes(tmp_path) is None
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": 3}}))
    with pytest.raises(ConfigError, match=r"tokenizer\.json cannot be read"):
        read_token_bytes(tmp_path)
