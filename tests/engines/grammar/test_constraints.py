"""Regular expressions, choices and EBNF, and the bounds on all constraints."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time

import pytest

from silkline.core import Constraint, ConstraintKind
from silkline.engines.grammar import CompiledConstraints, grammar_of
from silkline.engines.grammar.ebnf import parse, write
from silkline.engines.grammar.sample import sample
from silkline.errors import DeadlineExceeded, InvalidRequest

REGEX, CHOICE, EBNF = ConstraintKind.REGEX, ConstraintKind.CHOICE, ConstraintKind.GRAMMAR

PATTERNS = [
    "(a+)+b",
    r"\d{3}-\w+\s?\.",
    "[a-c-]{2,}|[^a-z]",
    "^x|y$|",
    r"\x41\u0042[\]\\-]\/",
    "(?:ab|a)(?P<name>c)??",
    r"[\W\D]\S",
    ".{0,9}$",
    "é|🦉{2}",
]


def drawn(kind: ConstraintKind, text: str, number: int = 50) -> list[str]:
    grammar, dice = grammar_of(Constraint(kind, text)), random.Random(1)
    return [sample(grammar, dice.randrange, max_chars=10_000) for _ in range(number)]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_a_pattern_allows_matches_it(pattern: str) -> None:
    for text in drawn(REGEX, pattern):
        assert re.fullmatch(pattern, text), text


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(?=a)", "lookaround"),
        ("(?i)a", "flag"),
        (r"(a)\1", "escape"),
        (r"\bx", "escape"),
        (r"\p{L}", "escape"),
        ("a++", "possessive"),
        ("a**", "nothing to apply to"),
        ("*a", "nothing to apply to"),
        ("(a", "not closed"),
        ("a)", "too many"),
        ("[a", "not closed"),
        ("[z-a]", "in order"),
        ("a{3,2}", "below its minimum"),
        ("a{0,100000}", "65536"),
        ("((a{0,1000}){0,1000}){0,1000}", "repeats"),
        ("(^a|b)c", "anchor"),
        ("(" * 5000, "nested"),
        ("[^\\d\\D]", "without characters"),
        (r"\ud800", "not a character"),
        ("a\\", "backslash"),
    ],
)
def test_other_patterns_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as refusal:
        grammar_of(Constraint(REGEX, pattern))
    assert refusal.value.param == "structured_outputs"


def test_choices_are_all_drawn() -> None:
    choices = ["red", "reddish", "", "größer", '"']
    assert set(drawn(CHOICE, json.dumps(choices), 200)) == set(choices)


def test_what_is_written_is_read_again_as_the_same() -> None:
    text = 'root ::= a (b | "c\\"\\n" [^\\]x-z\\u00e9])* # end\na ::= [a-z]{2,5}\nb ::= "(" a ")"?'
    once = write(parse(text))
    for seed in range(50):
        first, again = (
            sample(parse(form), random.Random(seed).randrange, max_chars=10_000)
            for form in (text, once)
        )
        assert first == again


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('root ::= root "a" | "b"', "recurses at its start"),
        ('root ::= a | "y"\na ::= "x"? root', "recurses at its start"),
        ('root ::= "a" root', "never ends"),
        ("root ::= other", "other, which is missing"),
        ('start: "a"', "EBNF"),
        ('a ::= "b"', "no rule `root`"),
        ('root ::= "a"\nroot ::= "b"', "twice"),
        ('root ::= "a', "not closed"),
        ("root ::= [z-a]", "in order"),
        ('root ::= ("a"', "not closed"),
        ("root ::= " + "(" * 5000, "nested"),
        ("root ::= " + "[a]" * 20_000, "parts"),
        ('root ::= "\\q"', "unknown escape"),
    ],
)
def test_other_grammars_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as refusal:
        grammar_of(Constraint(EBNF, text))
    assert refusal.value.param == "structured_outputs"


async def test_only_the_newest_are_kept() -> None:
    made: list[str] = []

    def compile_one(constraint: Constraint) -> str:
        made.append(constraint.text)
        return constraint.text

    compiled = CompiledConstraints(compile_one, "test")
    deadline = asyncio.get_running_loop().time() + 60
    for number in range(2000):
        await compiled.get(Constraint(REGEX, f"a{number}"), deadline)
    assert 0 < len(compiled) <= 256
    await compiled.get(Constraint(REGEX, "a1999", name="other"), deadline)
    assert len(made) == 2000
    for number in range(200):
        await compiled.get(Constraint(REGEX, f"{number}" + "a" * 65_000), deadline)
    assert 0 < len(compiled) <= 65
    compiled.close()


async def test_a_compilation_that_takes_too_long_ends_the_request() -> None:
    compiled = CompiledConstraints(lambda constraint: time.sleep(0.5), "test")
    with pytest.raises(DeadlineExceeded, match="compiled"):
        await compiled.get(Constraint(REGEX, "a"), asyncio.get_running_loop().time() + 0.05)
    compiled.close()


def test_the_characters_of_a_json_string_need_no_rule_but_their_own() -> None:
    text = write(grammar_of(Constraint(ConstraintKind.JSON_SCHEMA, '{"type": "string"}')))
    (body,) = [line for line in text.splitlines() if line.endswith("{0,}")]
    alternatives = body.partition("::=")[2].strip().removesuffix("{0,}")[1:-1].split(" | ")
    assert len(alternatives) == 5
    for one in alternatives:
        assert not re.search(r"\bn\d|\|", re.sub(r'"[^"]*"|\[[^\]]*\]', "", one)), one
