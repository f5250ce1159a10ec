"""Constraints on answers: what can be enforced, in one form for all engines.

`grammar_of` turns a `Constraint` into a `Grammar` over characters, or refuses it by the name of
what cannot be enforced. `ebnf` writes it for OpenVINO GenAI, `lark` for llguidance, and `sample`
draws a text of it for the fake engine. So all engines accept the same constraints and enforce the
same language (docs/structured-output.md, docs/decisions/0023-structured-output.md).
"""

from silkline.core import ConstraintKind, Feature
from silkline.engines.grammar.cache import CompiledConstraints
from silkline.engines.grammar.constraint import grammar_of
from silkline.engines.grammar.nodes import Grammar

CONSTRAINT_FEATURES = frozenset(Feature(kind.value) for kind in ConstraintKind)
"""The features of an engine that enforces every kind of constraint."""

__all__ = ["CONSTRAINT_FEATURES", "CompiledConstraints", "Grammar", "grammar_of"]
