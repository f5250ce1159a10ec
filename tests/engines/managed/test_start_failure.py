"""The last words of servers that did not start; the lines are those of the real ones."""

from __future__ import annotations

import pytest

from silkline.engines.managed.start_failure import MAX_CHARACTERS, log_excerpt, start_failure
from silkline.errors import ConfigError, EnvironmentFault

LLAMA = [
    "0.00.018.441 I srv    load_model: loading model 'model.gguf'",
    "0.00.018.691 E gguf_init_from_file: failed to open GGUF file 'model.gguf'",
    "0.00.018.766 E srv    load_model: failed to load model, 'model.gguf'",
    "0.00.018.776 I srv    operator(): operator(): cleaning up before exit...",
    "0.00.019.340 E srv  llama_server: exiting due to model loading error",
]


def test_the_cause_and_what_came_of_it_are_kept() -> None:
    assert log_excerpt(LLAMA) == (
        "gguf_init_from_file: failed to open GGUF file 'model.gguf' | "
        "srv    load_model: failed to load model, 'model.gguf' | "
        "srv  llama_server: exiting due to model loading error"
    )


def test_without_an_error_the_last_lines_are_all_there_is() -> None:
    assert log_excerpt(["one", "", "two", "three", "four"]) == "two | three | four"
    assert log_excerpt([]) == ""


def test_they_are_short() -> None:
    assert len(log_excerpt(["ValueError: " + "x" * 10_000] * 5)) == MAX_CHARACTERS


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("vllm: error: unrecognized arguments: --no-such-flag", ConfigError),
        ("error: invalid argument: --no-such-flag", ConfigError),
        ("ValueError: Model architectures ['X'] are not supported for now.", ConfigError),
        ("torch.OutOfMemoryError: CUDA out of memory.", EnvironmentFault),
    ],
)
def test_whose_business_it_is(line: str, kind: type[Exception]) -> None:
    error = start_failure("vllm", "ended with exit code 1", [line])
    assert type(error) is kind
    assert line in error.message
