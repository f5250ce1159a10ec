"""Serves the web console at `/`: its files by name, under a strict content security policy."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

FOLDER = Path(__file__).parent / "console"
INDEX = "index.html"
SAMPLE = FOLDER / "sample.jpg"
"""A sample image for users who have none at hand."""

_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def console_routes() -> list[Route]:
    """One route for each file of the console, and no others."""
    files = {f"/{path.name}": path for path in sorted(FOLDER.iterdir()) if path.is_file()}
    files["/"] = files.pop(f"/{INDEX}")
    return [_route(url, path) for url, path in files.items()]


def _route(url: str, path: Path) -> Route:
    async def file(_: Request) -> Response:
        return FileResponse(path, headers=_HEADERS)

    return Route(url, file, methods=["GET"], include_in_schema=False)
