"""The clients of `docs/clients.md`, and how their programs run."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.serving import served

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
INSTALLED = ROOT / ".cache" / "clients"
IMAGES = ROOT / "examples" / "pictures"
SECONDS = 280


@dataclass(frozen=True)
class Client:
    """A client.

    Attributes:
        name: Its heading in the page.
        program: Its file of cases.
        environment: The folder of `INSTALLED` with its virtual environment; empty if it is among
            the packages of the tests.
    """

    name: str
    program: str
    environment: str = ""

    @property
    def folder(self) -> Path:
        """Where its programs are and run."""
        return HERE / ("node" if self.program.endswith(".mjs") else "programs")

    @property
    def command(self) -> str:
        """What runs its programs."""
        if not self.environment:
            return sys.executable
        runner = "node" if self.program.endswith(".mjs") else "python"
        path = INSTALLED / self.environment / "bin" / runner
        if not path.exists():
            raise AssertionError(f"{self.name} is not installed; run: make clients")
        return str(path)


@dataclass(frozen=True)
class Outcome:
    """What came of one case.

    Attributes:
        version: The client's version.
        feature: The feature that it is about.
        way: What the client's user writes.
        outcome: "works", "refused" by the server with a message, or "broken".
        message: The server's message, or what went wrong.
    """

    version: str
    feature: str
    way: str
    outcome: str
    message: str


OFFICIAL = (
    Client("openai (Python)", "openai_sdk.py"),
    Client("anthropic (Python)", "anthropic_sdk.py"),
)
"""The clients that are installed with the packages of the tests."""

CLIENTS = (
    OFFICIAL[0],
    Client("openai (Node)", "openai_sdk.mjs", "node"),
    OFFICIAL[1],
    Client("anthropic (Node)", "anthropic_sdk.mjs", "node"),
    Client("LangChain", "langchain_chat.py", "langchain"),
    Client("LlamaIndex", "llamaindex_chat.py", "llamaindex"),
    Client("LiteLLM", "litellm_sdk.py", "litellm"),
    Client("Instructor", "instructor_modes.py", "instructor"),
    Client("Pydantic AI", "pydantic_ai_agent.py", "pydantic-ai"),
    Client("AI SDK: @ai-sdk/openai", "ai_openai.mjs", "node"),
    Client("AI SDK: @ai-sdk/openai-compatible", "ai_compatible.mjs", "node"),
    Client("AI SDK: @ai-sdk/anthropic", "ai_anthropic.mjs", "node"),
    Client("AIPerf", "aiperf_load.py", "aiperf"),
    Client("k6", "k6_load.py", "k6"),
)


@dataclass(frozen=True)
class Servers:
    """The addresses of two servers that serve the name silkline-mini.

    Attributes:
        url: Answers with words, and keeps to schemas.
        echo_url: Answers with the last message.
    """

    url: str
    echo_url: str


@contextmanager
def servers() -> Iterator[Servers]:
    """Runs both servers until the block ends."""
    fake = ("--engine", "fake", "--served-name", "silkline-mini")
    computed = (*fake, "--cache-ttl", "0")
    echoing = (*fake, "--engine-options", "mode=echo")
    with served(*computed) as words, served(*echoing) as echo:
        yield Servers(words.url, echo.url)


def outcomes(client: Client, to: Servers, *features: str) -> list[Outcome]:
    """Runs a client's program.

    Args:
        client: The client.
        to: The servers that it sends requests to.
        features: The features to try; without any, all of them.

    Raises:
        AssertionError: The program ended early.
    """
    run = subprocess.run(
        [client.command, client.program, *features],
        cwd=client.folder,
        env=_environment(to),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    found = [Outcome(**json.loads(line)) for line in run.stdout.splitlines() if line[:1] == "{"]
    if run.returncode or not found:
        raise AssertionError(f"{client.program} ended with {run.returncode}:\n{run.stderr}")
    return found


def run_example(client: Client, language: str, code: str) -> subprocess.CompletedProcess[str]:
    """Runs an example of the page in a client's environment."""
    command, text = {
        "python": ([client.command, "-c", code], ""),
        "js": ([client.command, "--input-type=module", "--eval", code], ""),
        "k6": ([str(Path(client.command).with_name("k6")), "run", "--quiet", "-"], code),
        "console": (["/bin/bash", "-ec", code], ""),
    }["k6" if client.name == "k6" else language]
    path = f"{Path(client.command).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=ROOT if language == "console" else client.folder,
        env={**os.environ, "PATH": path, "K6_NO_USAGE_REPORT": "true"},
        input=text,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def _environment(to: Servers) -> Mapping[str, str]:
    page = io.BytesIO()
    Image.new("RGB", (200, 280), "white").save(page, "PDF")
    return {
        **{name: text for name, text in os.environ.items() if "SILKLINE" not in name},
        "SILKLINE_URL": to.url,
        "SILKLINE_ECHO_URL": to.echo_url,
        "RED": str(IMAGES / "red-mug.jpg"),
        "GREEN": str(IMAGES / "green-sofa.jpg"),
        "PDF": base64.b64encode(page.getvalue()).decode(),
        "TOKENIZER": str(ROOT / "src" / "silkline" / "models" / "mini"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
