"""Writes the reference pages that follow from the code: `python -m scripts.reference_pages`.

`tests/test_reference.py` fails when a page is not what this would write.
"""

from __future__ import annotations

from pathlib import Path

from silkline.config import VARIABLE_PREFIX, Settings, field_info, section_of_field
from silkline.errors import HTTP_FACES

DOCS = Path(__file__).parents[1] / "docs"


def configuration() -> str:
    """`docs/configuration.md`: every setting."""
    lines = [
        "# Settings",
        "",
        "Written from `src/silkline/config/sections.py` by `scripts/reference_pages.py`.",
        "",
        "A setting is a key in its section of `silkline.toml` (in the working folder, or named by",
        "`--config`), a variable, or a flag; flags win over variables, variables over the file.",
        "Unknown names are refused, with the nearest known one. In a variable or a flag, a list is",
        "written `a, b` or as JSON, a table `name=value, ...` or as JSON; a flag for a list may be",
        "given several times. The variables that Kubernetes sets beside a Service whose name is",
        "`silkline` or begins with `silkline-` (such as `SILKLINE_SERVICE_HOST`) are left alone.",
        "",
        "```toml",
        "[server]",
        "port = 8080",
        "",
        "[fetch]",
        'allowed_hosts = ["*.shop.example"]',
        "```",
    ]
    sections = section_of_field()
    for section, group in Settings.model_fields.items():
        about = (group.annotation.__doc__ or "").strip().splitlines()[0] if group.annotation else ""
        lines += ["", f"## [{section}]", "", about, "", "| key | variable | default | what |"]
        lines.append("|---|---|---|---|")
        for field in (name for name, owner in sections.items() if owner == section):
            info = field_info(field)
            default = info.get_default(call_default_factory=True)
            shown = "empty" if default in ((), {}) else f"`{default}`"
            variable = f"`{VARIABLE_PREFIX}{field.upper()}`"
            lines.append(f"| `{field}` | {variable} | {shown} | {info.description} |")
    return "\n".join(lines) + "\n"


def errors() -> str:
    """`docs/errors.md`: every error that a client can see."""
    lines = [
        "# Errors",
        "",
        "Written from `src/silkline/errors.py` by `scripts/reference_pages.py`.",
        "",
        "Every error has the body of the OpenAI API and the request's id in `x-request-id`:",
        "",
        "```json",
        '{"error": {"message": "...", "type": "...", "param": "image", "code": "image_format"}}',
        "```",
        "",
        "A 409, a 429 and a 503 carry `Retry-After`. After a stream has begun, an error is an",
        "`error` event with the same body, and `[DONE]` is not sent. A 500 is always a bug: please",
        "report it with its request id.",
        "",
        "| status | code | when |",
        "|---|---|---|",
    ]
    faces = sorted(HTTP_FACES.items(), key=lambda item: (item[1].status, item[1].code))
    for error, face in faces:
        when = (error.__doc__ or "").strip().splitlines()[0]
        lines.append(f"| {face.status} | `{face.code}` | {when} |")
    return "\n".join(lines) + "\n"


PAGES = {"configuration.md": configuration, "errors.md": errors}


def main() -> None:
    """Writes all pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
