"""Exactly one place fetches and one decodes: a second code path is how guards are passed by."""

import ast
from collections.abc import Iterator
from pathlib import Path

import silkline

PACKAGE = Path(silkline.__file__).parent
FETCHER = "ingress/fetch.py"
REMOTE = "engines/remote/link.py"  # dials what the operator named, and only that
DECODER = "ingress/normalise.py"
CHILD = "ingress/decoder_child.py"

WEB_CLIENTS = {
    "aiohttp", "ftplib", "http.client", "httpcore", "httpx", "httpx2", "pycurl", "requests",
    "smtplib", "telnetlib", "urllib.request", "urllib3", "websockets", "xmlrpc.client",
}  # fmt: skip
PICTURE_LIBRARIES = {
    "PIL", "av", "avif", "cv2", "imagecodecs", "imageio", "pillow_heif", "pyvips", "rawpy",
    "simplejpeg", "skimage", "tifffile", "torchvision", "turbojpeg", "wand",
}  # fmt: skip
THUMBNAILS = "evaluate/report/pictures.py"
"""Writes pictures into a report; it reads none."""

CONNECTING = {
    "connect_ex", "create_connection", "create_datagram_endpoint", "open_connection",
    "sock_connect", "urlopen", "urlretrieve",
}  # fmt: skip


def modules() -> Iterator[tuple[str, ast.Module]]:
    """All that can run in a gateway. The load generator cannot: only the command line knows it."""
    paths = sorted(PACKAGE.rglob("*.py"))
    assert len(paths) > 20
    for path in paths:
        name = path.relative_to(PACKAGE).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"), name)
        if name.startswith("bench/"):
            continue
        assert name.startswith("cli/") or not uses(tree, {"silkline.bench"})
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
    assert [name for name, tree in modules() if uses(tree, WEB_CLIENTS)] == [REMOTE, FETCHER]


def test_nothing_connects_by_hand() -> None:
    calls = [
        (name, called(node))
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and called(node) in CONNECTING
    ]
    assert calls == []


def test_one_module_decodes() -> None:
    users = {name: tree for name, tree in modules() if uses(tree, PICTURE_LIBRARIES)}
    assert set(users) == {DECODER, THUMBNAILS}
    calls = {called(node) for node in ast.walk(users[THUMBNAILS]) if isinstance(node, ast.Call)}
    assert "frombytes" in calls
    assert not any("open" in call or "load" in call for call in calls)


def test_only_the_child_runs_the_decoder() -> None:
    importers = [name for name, tree in modules() if uses(tree, {"silkline.ingress.normalise"})]
    assert importers == [CHILD]
    assert not [name for name, tree in modules() if uses(tree, {"silkline.ingress.decoder_child"})]


def test_only_the_intake_puts_them_together() -> None:
    """Other rooms see pictures through `Intake` and `Source` alone; `doctor` tries a decoder."""
    inner = {f"silkline.ingress.{name}" for name in ("fetch", "decode", "decoder_link", "urls")}
    outside = [
        name for name, tree in modules() if not name.startswith("ingress/") and uses(tree, inner)
    ]
    assert outside == ["cli/doctor.py"]
