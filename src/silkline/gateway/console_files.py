"""The web console at `/`: static files, a strict content security policy, a sample picture."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

FOLDER = Path(__file__).parent / "console"

_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class ConsoleFiles:
    """Serves the console's files, and nothing but them."""

    def __init__(self, sample: Path) -> None:
        self._files = StaticFiles(directory=FOLDER, html=True)
        self._sample = sample

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one file; the sample picture lies with the bundled model."""

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", _POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                    (b"cache-control", b"no-cache"),
                ]
            await send(message)

        if scope["path"] == "/sample.jpg":
            await FileResponse(self._sample)(scope, receive, with_policy)
        else:
            await self._files(scope, receive, with_policy)
