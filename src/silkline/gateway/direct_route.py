"""Routes that FastAPI documents, but whose endpoints handle the request themselves."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from silkline.gateway.failures import render_error

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class DirectRoute(APIRoute):
    """A route whose endpoint takes the request and returns the response.

    FastAPI's own route resolves an endpoint's parameters and validates its result. These endpoints
    need neither. `DirectApp` calls them.
    """

    def get_route_handler(self) -> Endpoint:
        """Returns the endpoint itself.

        https://fastapi.tiangolo.com/how-to/custom-request-and-route/
        """
        handler: Endpoint = self.endpoint
        return handler


class DirectApp:
    """The ASGI application of a FastAPI app, which calls the endpoints of its direct routes.

    All other requests take FastAPI's own way, which passes through ten more layers.
    """

    def __init__(self, app: FastAPI) -> None:
        """Takes the app with all of its routes; the paths of direct routes have no parameters."""
        self._app = app
        self._routes = {
            (method, route.path): route
            for route in app.routes
            if isinstance(route, DirectRoute)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; passes other ASGI scopes to the app."""
        direct = scope["type"] == "http"
        route = self._routes.get((scope["method"], scope["path"])) if direct else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request)
        except Exception as error:  # noqa: BLE001 - reported, and a defect is logged
            response = await render_error(request, error)
        await response(scope, receive, send)
