"""Exactly one place fetches and one decodes: a second code path is how guards are passed by."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import silkline

PACKAGE = Path(silkline.__file__).parent
FETCHER = "ingress/fetch.py"
REMOTE = "engines/remote/connections.py"  # dials the servers of the settings
RESPONSE = "aio/http_response.py"  # reads what the fetcher gets; dials nothing
COMMANDS = {  # ask servers whose addresses the user of a command names; no gateway runs them
    "ship/admin.py", "ship/server.py", "ship/traffic.py", "review/prometheus.py",
}  # fmt: skip
OPERATORS = {  # send to servers that the settings name
    "observe/shipping/server.py", "experiments/scorers/http.py", "experiments/webhooks.py",
}  # fmt: skip
WORKERS = "engines/worker/client.py"  # on the nodes of a cluster, with their secret
DOCTOR = "cli/doctor.py"  # asks this machine's own port whether Silkline has it
DECODER = "ingress/normalise.py"
DOCUMENTS = "ingress/documents.py"
CHILD = "ingress/decoder_child.py"

WEB_CLIENTS = {
    "aiohttp", "ftplib", "http.client", "httpcore", "httpx", "httpx2", "pycurl", "requests",
    "smtplib", "telnetlib", "urllib.request", "urllib3", "websockets", "xmlrpc.client",
}  # fmt: skip
PICTURE_LIBRARIES = {
    "PIL", "av", "avif", "cv2", "imagecodecs", "imageio", "pillow_heif", "pypdfium2", "pyvips",
    "rawpy", "simplejpeg", "skimage", "tifffile", "torchvision", "turbojpeg", "wand",
}  # fmt: skip
REFERENCE = "evaluate/contract/upright.py"
"""Opens the pictures that the preprocessing contract drew itself, to judge the decoder by."""

CONNECTING = {
    "connect_ex", "create_connection", "create_datagram_endpoint", "open_connection",
    "sock_connect", "urlopen", "urlretrieve",
}  # fmt: skip


@cache
def modules() -> tuple[tuple[str, ast.Module], ...]:
    """All that can run in a gateway. The load generator cannot: only commands know it."""
    return tuple(_modules())


def _modules() -> Iterator[tuple[str, ast.Module]]:
    paths = sorted(PACKAGE.rglob("*.py"))
    assert len(paths) > 20
    for path in paths:
        name = path.relative_to(PACKAGE).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"), name)
        if name.startswith("bench/"):
            continue
        commands = ("cli/", "optimize/", "plan/", "service/served.py", "ship/")
        assert name.startswith(commands) or not uses(tree, {"silkline.bench"})
        yield name, tree


def imported(tree: ast.AST) -> Iterator[str]:
    """Names of imported modules, and of what is imported from them; also by a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"}:
            yield from (
                argument.value
                for argument in node.args
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            )


def called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def uses(tree: ast.AST, libraries: set[str]) -> bool:
    return any(
        name == library or name.startswith(f"{library}.")
        for name in imported(tree)
        for library in libraries
    )


def test_one_module_fetches() -> None:
    clients = {name for name, tree in modules() if uses(tree, WEB_CLIENTS)}
    assert clients == {DOCTOR, RESPONSE, FETCHER, *OPERATORS, *COMMANDS}


def test_one_module_connects_by_hand() -> None:
    calls = [
        (name, called(node))
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and called(node) in CONNECTING
    ]
    assert sorted(calls) == [(REMOTE, "create_connection"), (WORKERS, "create_connection")]


def opens_pictures(tree: ast.Module) -> bool:
    """Whether a picture library is asked to read an encoded picture, which is what is attacked.

    Pixels that were decoded already may be scaled, drawn on and written by anyone.
    """
    readers = {
        name for name in imported(tree) if name.rpartition(".")[0] in {"PIL.Image", "PIL.ImageFile"}
    }
    opened = {
        f"{ast.unparse(node.func.value)}.{node.func.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    names = {"Image", "PIL.Image", *aliases(tree)}
    return bool(
        readers & {"PIL.Image.open", "PIL.ImageFile.Parser"}
        or opened & {f"{name}.open" for name in names}
        or uses(tree, PICTURE_LIBRARIES - {"PIL"})
    )


def aliases(tree: ast.Module) -> set[str]:
    """What a module calls `PIL.Image`."""
    return {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if alias.asname and alias.name in {"Image", "PIL.Image"}
    }


def test_one_module_decodes() -> None:
    users = {name: tree for name, tree in modules() if uses(tree, PICTURE_LIBRARIES)}
    assert [name for name, tree in users.items() if opens_pictures(tree)] == [
        REFERENCE,
        DOCUMENTS,
        DECODER,
    ]
    assert not [name for name in users if name.startswith(("cli/", "gateway/", "routing/"))]


@pytest.mark.parametrize(
    "text",
    [
        "from PIL import Image\nImage.open(file)",
        "from PIL import Image as Pillow\nPillow.open(file)",
        "import PIL.Image\nPIL.Image.open(file)",
        "from PIL.Image import open",
        "import cv2",
    ],
)
def test_a_second_decoder_would_be_seen(text: str) -> None:
    assert opens_pictures(ast.parse(text))
    assert not opens_pictures(ast.parse("from PIL import Image\nImage.frombytes(pixels)"))


def test_only_the_child_runs_the_decoder() -> None:
    importers = [name for name, tree in modules() if uses(tree, {"silkline.ingress.normalise"})]
    assert importers == [CHILD, DOCUMENTS]
    importers = [name for name, tree in modules() if uses(tree, {"silkline.ingress.documents"})]
    assert importers == [CHILD]
    assert not [name for name, tree in modules() if uses(tree, {"silkline.ingress.decoder_child"})]


def test_only_the_intake_puts_them_together() -> None:
    """Other rooms see pictures through `Intake` and `Source` alone; `doctor` tries a decoder."""
    inner = {f"silkline.ingress.{name}" for name in ("fetch", "decode", "decoder_link", "urls")}
    outside = [
        name for name, tree in modules() if not name.startswith("ingress/") and uses(tree, inner)
    ]
    assert outside == ["cli/doctor.py"]
