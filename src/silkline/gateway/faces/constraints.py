"""Reads the form that an answer must have, in the ways in which clients say it.

`response_format` is the OpenAI API's, `structured_outputs` and `guided_*` are vLLM's:
https://docs.vllm.ai/en/latest/features/structured_outputs.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from silkline.core import Constraint, ConstraintKind
from silkline.errors import InvalidRequest
from silkline.gateway.faces.sampling_fields import SamplingFields

_MAX_CONSTRAINT_CHARS = 65_536
_MAX_CHOICES = 1024

_Schema = dict[str, Any] | str
_Choices = Annotated[list[str], Meta(min_length=1, max_length=_MAX_CHOICES)]


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class TextFormat(_Body, frozen=True, tag_field="type", tag="text"):
    """Any text."""


class JsonObjectFormat(_Body, frozen=True, tag_field="type", tag="json_object"):
    """Any JSON object; with a `schema`, one that matches it, as in llama.cpp."""

    schema: dict[str, Any] | None = None


class NamedSchema(_Body, frozen=True):
    """A JSON Schema with a name. `strict` has no effect: the schema is always enforced."""

    name: str = ""
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(_Body, frozen=True, tag_field="type", tag="json_schema"):
    """JSON that matches a schema."""

    json_schema: NamedSchema


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat


class StructuredOutputs(_Body, frozen=True):
    """One constraint, as vLLM names them."""

    json: _Schema | None = None
    json_object: bool | None = None
    regex: str | None = None
    choice: _Choices | None = None
    grammar: str | None = None


class GuidedFields(SamplingFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of a body that constrain the answer, as vLLM names them; one may be set."""

    structured_outputs: StructuredOutputs | None = None
    guided_json: _Schema | None = None
    guided_json_object: bool | None = None
    guided_regex: str | None = None
    guided_choice: _Choices | None = None
    guided_grammar: str | None = None

    def constraint(self) -> Constraint | None:
        """Returns the constraint; None if the answer may be any text.

        Raises:
            InvalidRequest: There are several constraints, or one is empty or too long.
        """
        found = dict(self._found())
        if len(found) > 1:
            names = " and ".join(found)
            raise InvalidRequest(
                f"The body constrains the answer in several ways: {names}. Send one of them.",
                param=next(iter(found)),
            )
        for name, constraint in found.items():
            if len(constraint.text) > _MAX_CONSTRAINT_CHARS:
                raise InvalidRequest(
                    f"The field {name} has {len(constraint.text)} characters as JSON; at most "
                    f"{_MAX_CONSTRAINT_CHARS} are allowed. Send a smaller one.",
                    param=name,
                )
            return constraint
        return None

    def _found(self) -> Iterator[tuple[str, Constraint]]:
        """Yields each constraint and the name of its field."""
        outputs = self.structured_outputs or StructuredOutputs()
        yield from _of_outputs(outputs, "structured_outputs.")
        guided = StructuredOutputs(
            self.guided_json,
            self.guided_json_object,
            self.guided_regex,
            self.guided_choice,
            self.guided_grammar,
        )
        yield from _of_outputs(guided, "guided_")


class ConstraintFields(GuidedFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of a chat completion's body that constrain the answer; one may be set."""

    response_format: ResponseFormat | None = None

    def _found(self) -> Iterator[tuple[str, Constraint]]:
        match self.response_format:
            case JsonObjectFormat() as json_object:
                yield "response_format", any_object(json_object)
            case JsonSchemaFormat(json_schema=named):
                yield "response_format", named_schema(named)
        yield from super()._found()


def any_object(wanted: JsonObjectFormat) -> Constraint:
    """Converts the format `json_object`, which may have a schema."""
    if wanted.schema is None:
        return Constraint(ConstraintKind.JSON_OBJECT)
    return Constraint(ConstraintKind.JSON_SCHEMA, as_json(wanted.schema))


def _of_outputs(outputs: StructuredOutputs, prefix: str) -> Iterator[tuple[str, Constraint]]:
    if outputs.json is not None:
        yield prefix + "json", json_schema(outputs.json, prefix + "json")
    if outputs.json_object:
        yield prefix + "json_object", Constraint(ConstraintKind.JSON_OBJECT)
    if outputs.regex:
        yield prefix + "regex", Constraint(ConstraintKind.REGEX, outputs.regex)
    if outputs.choice is not None:
        text = as_json(outputs.choice)
        yield prefix + "choice", Constraint(ConstraintKind.CHOICE, text)
    if outputs.grammar:
        yield prefix + "grammar", Constraint(ConstraintKind.GRAMMAR, outputs.grammar)


def named_schema(named: NamedSchema) -> Constraint:
    """Converts a named schema; without a schema it allows any JSON object."""
    if named.schema is None:
        return Constraint(ConstraintKind.JSON_OBJECT)
    text = as_json(named.schema)
    return Constraint(ConstraintKind.JSON_SCHEMA, text, named.name, named.description or "")


def json_schema(schema: dict[str, Any] | str, param: str) -> Constraint:
    """Converts a schema, an object or its text.

    Raises:
        InvalidRequest: The text is not a JSON object.
    """
    value: Any = schema
    if isinstance(schema, str):
        try:
            value = msgspec.json.decode(schema, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise InvalidRequest(
                f"The field {param} is not a JSON Schema. Send an object, or its text as JSON.",
                param=param,
            ) from error
    return Constraint(ConstraintKind.JSON_SCHEMA, as_json(value))


def as_json(value: object) -> str:
    """Encodes a value of the body as JSON text, with its fields in the client's order."""
    return msgspec.json.encode(value).decode()
