"""Small chat templates in the forms that published models use, and two ways to run them."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jinja2.sandbox

from silkline.engines.chat.template import TemplateRefusedError
from silkline.models.resolve import bundled_folder

_CONTENT = """
{%- macro content(message) %}
    {%- if message.content is string %}{{ message.content }}{% else %}
        {%- for part in message.content %}
            {%- if part.type == 'text' %}{{ part.text }}{% else %}<image>{% endif %}
        {%- endfor %}
    {%- endif %}
{%- endmacro %}
"""

_CHATML_TOOLS = """
{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n<tools>' }}
    {%- for tool in tools %}{{- '\\n' + (tool | tojson) }}{% endfor %}
    {{- '\\n</tools>\\nAnswer with <tool_call>\\n{"name": <name>, "arguments": <object>}\\n' }}
    {{- '</tool_call><|im_end|>\\n' }}
{%- endif %}
"""

_CHATML_RESULT = """
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + content(message) + '\\n</tool_response>' }}
        {{- '<|im_end|>\\n' }}
"""

HERMES = f"""{_CONTENT}{_CHATML_TOOLS}
{{%- for message in messages %}}
    {{%- if message.role == 'assistant' %}}
        {{{{- '<|im_start|>assistant\\n' + content(message) }}}}
        {{%- for call in message.tool_calls %}}
            {{{{- '\\n<tool_call>\\n{{"name": "' + call.function.name + '", "arguments": ' }}}}
            {{{{- (call.function.arguments | tojson) + '}}\\n</tool_call>' }}}}
        {{%- endfor %}}
        {{{{- '<|im_end|>\\n' }}}}
    {_CHATML_RESULT}
    {{%- else %}}
        {{{{- '<|im_start|>' + message.role + '\\n' + content(message) + '<|im_end|>\\n' }}}}
    {{%- endif %}}
{{%- endfor %}}
{{%- if add_generation_prompt %}}{{{{- '<|im_start|>assistant\\n' }}}}{{%- endif %}}
"""

HERMES_WITH_TEXT = HERMES.replace("(call.function.arguments | tojson)", "call.function.arguments")

THINKING = (
    HERMES.replace(
        "'<|im_start|>assistant\\n' + content(message) }}",
        "'<|im_start|>assistant\\n' }}"
        "{%- if message.reasoning_content %}"
        "{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}{%- endif %}"
        "{{- content(message) }}",
    )
    .rstrip()
    .removesuffix("{%- endif %}")
    + """{%- if enable_thinking is defined and not enable_thinking %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
)

ALWAYS_THINKING = THINKING.replace(
    "{%- if enable_thinking is defined and not enable_thinking %}", "{%- if true %}"
).replace("<think>\\n\\n</think>\\n\\n", "<think>\\n")

EFFORT = "{{- 'Reasoning: ' + (reasoning_effort or 'medium') + '\\n' }}" + THINKING

CODER = HERMES.replace(
    """{{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}""",
    """{{- '\\n<tool_call>\\n<function=' + call.function.name + '>\\n' }}
            {%- for key, value in call.function.arguments.items() %}
                {{- '<parameter=' + key + '>\\n' }}
                {{- value if value is string else (value | tojson) }}
                {{- '\\n</parameter>\\n' }}
            {%- endfor %}""",
).replace(
    """{{- (call.function.arguments | tojson) + '}\\n</tool_call>' }}""",
    """{{- '</function>\\n</tool_call>' }}""",
)

LLAMA = f"""{_CONTENT}
{{%- if tools %}}
    {{{{- '<|start_header_id|>system<|end_header_id|>\\n\\nEnvironment: ipython\\nAnswer with ' }}}}
    {{{{- '{{"name": name, "parameters": object}}\\n' }}}}
    {{%- for tool in tools %}}{{{{- (tool | tojson) + '\\n' }}}}{{% endfor %}}
    {{{{- '<|eot_id|>' }}}}
{{%- endif %}}
{{%- for message in messages %}}
    {{%- if message.role == 'tool' %}}
        {{{{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' + content(message) }}}}
    {{%- elif message.tool_calls %}}
        {{%- if message.tool_calls | length != 1 %}}
            {{{{- raise_exception('One call.') }}}}
        {{%- endif %}}
        {{%- set call = message.tool_calls[0].function %}}
        {{{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{{"name": "' + call.name }}}}
        {{{{- '", "parameters": ' + (call.arguments | tojson) + '}}' }}}}
    {{%- else %}}
        {{{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}}}
        {{{{- content(message) | trim }}}}
    {{%- endif %}}
    {{{{- '<|eot_id|>' }}}}
{{%- endfor %}}
{{%- if add_generation_prompt %}}
    {{{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}}}
{{%- endif %}}
"""

MISTRAL = f"""{_CONTENT}
{{%- for message in messages %}}
    {{%- if message.role == 'user' %}}
        {{%- if tools %}}
            {{{{- '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}}}
        {{%- endif %}}
        {{{{- '[INST]' + content(message) + '[/INST]' }}}}
    {{%- elif message.role == 'tool' %}}
        {{%- if message.tool_call_id | length != 9 %}}
            {{{{- raise_exception('Nine.') }}}}
        {{%- endif %}}
        {{{{- '[TOOL_RESULTS]{{"content": ' + (message.content | string) + ', "call_id": "' }}}}
        {{{{- message.tool_call_id + '"}}[/TOOL_RESULTS]' }}}}
    {{%- elif message.tool_calls %}}
        {{{{- '[TOOL_CALLS][' }}}}
        {{%- for call in message.tool_calls %}}
            {{%- if call.id | length != 9 %}}{{{{- raise_exception('Nine.') }}}}{{%- endif %}}
            {{{{- '{{"name": "' + call.function.name + '", "arguments": ' }}}}
            {{{{- (call.function.arguments | tojson) + ', "id": "' + call.id + '"}}' }}}}
            {{{{- ']</s>' if loop.last else ', ' }}}}
        {{%- endfor %}}
    {{%- elif message.role == 'assistant' %}}{{{{- content(message) + '</s>' }}}}
    {{%- endif %}}
{{%- endfor %}}
"""

PLAIN = f"""{_CONTENT}
{{%- for message in messages %}}
    {{{{- message.role + ': ' + content(message) + '\\n' }}}}
{{%- endfor %}}
{{%- if add_generation_prompt %}}{{{{- 'assistant: ' }}}}{{%- endif %}}
"""

UNKNOWN = HERMES.replace("<tool_call>", "<call_the_tool>").replace("</tool_call>", "</call_it>")


class Jinja:
    """Runs a template as transformers does."""

    def __init__(self, template: str) -> None:
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True
        )
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        environment.globals["raise_exception"] = _raise
        self._template = environment.from_string(template)

    def __call__(
        self,
        turns: list[dict[str, Any]],
        *,
        opens: bool,
        tools: list[dict[str, Any]] | None,
        variables: Mapping[str, Any],
    ) -> str:
        try:
            return self._template.render(
                messages=turns, tools=tools, add_generation_prompt=opens, **variables
            )
        except (jinja2.TemplateError, TypeError) as error:
            raise TemplateRefusedError from error


class GenAi:
    """Runs a template in OpenVINO GenAI."""

    def __init__(self, template: str) -> None:
        self._template = template

    def __call__(
        self,
        turns: list[dict[str, Any]],
        *,
        opens: bool,
        tools: list[dict[str, Any]] | None,
        variables: Mapping[str, Any],
    ) -> str:
        try:
            written: str = _tokenizer().apply_chat_template(
                turns,
                add_generation_prompt=opens,
                chat_template=self._template,
                tools=tools,
                extra_context=dict(variables),
            )
        except RuntimeError as error:
            raise TemplateRefusedError from error
        return written


def takes_parts(template: str) -> bool:
    """Whether messages have parts when the OpenVINO engine runs a template."""
    from silkline.engines.openvino import prompt  # noqa: PLC0415 - not installed everywhere

    return prompt.takes_parts(_tokenizer(), template)


@functools.cache
def _tokenizer() -> Any:
    import openvino_genai  # noqa: PLC0415 - not installed everywhere

    with ThreadPoolExecutor(1) as thread:  # OpenVINO must not be loaded in the main thread
        return thread.submit(openvino_genai.Tokenizer, bundled_folder() / "openvino").result()


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
