"""Constraints on answers: what can be enforced, in one form for all engines.

`grammar_of` turns a `Constraint` into a `Grammar` over characters, or refuses it by the name of
what cannot be enforced. `ebnf` writes it for OpenVINO GenAI, `lark` for llguidance, and `sample`
draws a text of it for the fake engine. So all engines accept the same constraints and enforce the
same language (docs/structured-output.md, docs/decisions/0023-structured-output.md).
"""

from silkline.engines.grammar.cache import CompiledConstraints
from silkline.engines.grammar.constraint import grammar_of
from silkline.engines.grammar.nodes import Grammar

__all__ = ["CompiledConstraints", "Grammar", "grammar_of"]
