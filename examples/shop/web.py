"""The shop's pages: the window, products, the editor's queue, and the routes for programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from examples.shop.describing import STYLES, Describer
from examples.shop.editing import Editing
from examples.shop.programs import program_routes
from examples.shop.tables import State
from examples.shop.words import VOCABULARY
from silkline.catalog.description import Style
from silkline.catalog.vocabulary import Language

HERE = Path(__file__).parent
PER_PAGE = 24
QUEUE = 20
_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
]
_FORBIDDEN, _NOT_FOUND, _SEE_OTHER = 403, 404, 303


class Guarded:
    """Adds the security headers, and refuses forms that another site's page sends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        headers = dict(scope["headers"])
        site = headers.get(b"sec-fetch-site", b"none")
        if scope["method"] == "POST" and site not in {b"same-origin", b"none"}:
            await Response("This form is for the shop's own pages.", _FORBIDDEN)(
                scope, receive, guarded
            )
            return
        await self._app(scope, receive, guarded)


class Pages:
    """The pages for people."""

    def __init__(self, describer: Describer) -> None:
        self._describer = describer
        self._tables = describer.tables
        self._editing = Editing(describer)
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=select_autoescape()
        )
        self._templates.globals["vocabulary"] = VOCABULARY

    def routes(self) -> list[Route]:
        """All pages."""
        return [
            Route("/", self.window),
            Route("/products/{id}", self.product),
            Route("/images/{digest}.jpg", self.image),
            Route("/editor", self.editor),
            Route("/editor/{id}/{language}", self.decide, methods=["POST"]),
        ]

    def window(self, request: Request) -> Response:
        """The shop window: products in pages."""
        language, page = _language(request), max(1, _number(request, "page"))
        found = self._tables.page(language, (page - 1) * PER_PAGE, PER_PAGE + 1)
        return self._page(
            "window.html",
            request,
            found=found[:PER_PAGE],
            page=page,
            has_more=len(found) > PER_PAGE,
        )

    def product(self, request: Request) -> Response:
        """One product."""
        product = self._tables.product(request.path_params["id"])
        if product is None:
            return self._page("missing.html", request, status=_NOT_FOUND)
        kept = self._tables.description(product.id, Style(language=_language(request)))
        is_fresh = kept is not None and self._describer.is_fresh(product, kept)
        return self._page("product.html", request, product=product, kept=kept, is_fresh=is_fresh)

    def image(self, request: Request) -> Response:
        """An image. Its name is its digest, so it may be kept for ever."""
        try:
            content = self._describer.images.get(request.path_params["digest"])
        except FileNotFoundError:
            return Response(status_code=_NOT_FOUND)
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(content, media_type="image/jpeg", headers=headers)

    def editor(self, request: Request) -> Response:
        """The queue of descriptions that need a person."""
        return self._editor_page(request)

    def _editor_page(self, request: Request, **values: Any) -> Response:
        queue = self._tables.in_state(State.REVIEW, QUEUE)
        queue += self._tables.in_state(State.REFUSED, QUEUE - len(queue))
        items = [(kept, self._tables.product(kept.product)) for kept in queue]
        return self._page("editor.html", request, items=items, **values)

    async def decide(self, request: Request) -> Response:
        """An editor's decision about one description."""
        async with request.form() as form:
            fields = {name: str(value) for name, value in form.items()}
        style = Style(language=Language(request.path_params["language"]))
        kept = self._tables.description(request.path_params["id"], style)
        if kept is None:
            return self._page("missing.html", request, status=_NOT_FOUND)
        done = await self._editing.decide(kept, fields)
        return RedirectResponse(f"/editor?done={done}#queue", _SEE_OTHER)

    def _page(self, name: str, request: Request, status: int = 200, **values: Any) -> Response:
        html = self._templates.get_template(name).render(
            language=_language(request),
            counts=self._tables.counts(),
            done=request.query_params.get("done", ""),
            path=request.url.path,
            **values,
        )
        return HTMLResponse(html, status)


def create_app(describer: Describer, webhook_secret: str) -> Starlette:
    """The shop as an ASGI application."""
    routes = [
        *Pages(describer).routes(),
        *program_routes(describer, webhook_secret),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guarded)],
        exception_handlers={_NOT_FOUND: lambda _request, _error: JSONResponse({}, _NOT_FOUND)},
    )


def _language(request: Request) -> Language:
    asked = request.query_params.get("lang", "")
    return Language(asked) if asked in {style.language for style in STYLES} else Language.ENGLISH


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    return int(text) if text.isdecimal() and len(text) < len("1000000") else 0
