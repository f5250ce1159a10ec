"""`/admin/live`, `/admin/settings` and `/admin/tenants`: what the console shows of a server."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from silkline.admission.tenant import ANYONE, Tenant
from silkline.config import Settings, shown_settings
from silkline.gateway.keys import Holder, KeyRing
from silkline.gateway.keys_file import KeysFile
from silkline.gateway.live.feed import LiveFeed
from silkline.gateway.openapi import ERROR_RESPONSES
from silkline.gateway.request_record import record_of
from silkline.gateway.siblings import Siblings
from silkline.gateway.sse import EventStream
from silkline.observe.exposition import Format
from silkline.service.lifecycle import Lifecycle

STREAM_SECONDS = 3600.0
"""Maximum duration of a stream; the page then opens another."""


def live_routes(
    settings: Settings,
    siblings: Siblings,
    lifecycle: Lifecycle,
    keys: KeysFile | None,
) -> APIRouter:
    """The routes of the console; `auth` lets only admins reach them.

    Args:
        settings: The settings.
        siblings: Has the metrics of all gateway processes.
        lifecycle: Whether the process drains.
        keys: The file of the API keys; None if there is none.
    """
    router = APIRouter(tags=["Admin"])
    feed = LiveFeed(partial(siblings.render, Format.TEXT), lifecycle)

    @router.get(
        "/admin/live",
        summary="Live figures as server-sent events, one a second",
        responses=ERROR_RESPONSES,
        response_class=Response,
    )
    async def live(request: Request) -> Response:
        return EventStream(feed.listen(), record_of(request), dict, seconds=STREAM_SECONDS, end=b"")

    @router.get(
        "/admin/settings",
        summary="The settings in force, with the source of each; without secrets",
        responses=ERROR_RESPONSES,
    )
    async def in_force() -> dict[str, Any]:
        return {"settings": shown_settings(settings)}

    @router.get(
        "/admin/tenants",
        summary="The tenants with their limits, and the role and expiry of their keys",
        responses=ERROR_RESPONSES,
    )
    async def tenants() -> dict[str, Any]:
        ring = None if keys is None else keys.ring
        found = [_shown(ANYONE, ())] if ring is None else _tenants(ring)
        retained = settings.history.history_content
        return {
            "keys": ring is not None,
            "tenants": [
                {**tenant, "content_seconds": retained.get(tenant["name"])} for tenant in found
            ],
        }

    return router


def _tenants(ring: KeyRing) -> list[dict[str, Any]]:
    return [
        _shown(tenant, [holder for holder in ring.holders if holder.tenant == tenant])
        for tenant in ring.tenants
    ]


def _shown(tenant: Tenant, holders: Sequence[Holder]) -> dict[str, Any]:
    """A tenant without its salt, and its keys without their digests."""
    return {
        "name": tenant.name,
        "weight": tenant.weight,
        "requests_per_minute": tenant.requests_per_minute,
        "tokens_per_minute": tenant.tokens_per_minute,
        "paths": holders[0].paths if holders else (),
        "keys": [{"role": holder.role, "expires": holder.expires} for holder in holders],
    }
