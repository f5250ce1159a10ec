"""Special tokens and the shape of a conversation; needs no library."""

from __future__ import annotations

from typing import Final

PAD, END, IMAGE = "<|pad|>", "<|end|>", "<image>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIALS: Final = (PAD, END, IMAGE, SYSTEM, USER, ASSISTANT)
"""Special tokens; their ids are their positions."""

PAD_ID, END_ID, IMAGE_ID = (SPECIALS.index(token) for token in (PAD, END, IMAGE))
CONTEXT_LENGTH: Final = 1024

CHAT_TEMPLATE: Final = (
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' -}}"
    "{%- if message['content'] is string -%}"
    "{{- message['content'] -}}"
    "{%- else -%}"
    "{%- for part in message['content'] if part['type'] in ['image', 'image_url'] -%}"
    "{{- '<image>\\n' -}}"
    "{%- endfor -%}"
    "{%- for part in message['content'] if part['type'] == 'text' -%}"
    "{{- part['text'] -}}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{{- '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)
"""Pictures come before the text of their message, as the model was trained."""

OPENVINO_CHAT_TEMPLATE: Final = CHAT_TEMPLATE.replace("<image>\\n", "<image>")
"""The same for OpenVINO GenAI, which puts the line break after every picture itself."""


def format_prompt(question: str, system: str | None = None, *, line_break: bool = False) -> str:
    """Return the prompt of one picture and one question.

    Without ``line_break`` it is the form for OpenVINO GenAI, with it the form for transformers.
    """
    opening = f"{SYSTEM}{system}{END}" if system else ""
    ending = "\n" if line_break else ""
    return f"{opening}{USER}{IMAGE}{ending}{question}{END}{ASSISTANT}"
