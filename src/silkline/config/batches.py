"""Settings of the batch API."""

from __future__ import annotations

from pydantic import Field

from silkline.config.sections import MIB, Section


class BatchSettings(Section):
    """Batches: files of requests that are answered in idle capacity; see `docs/batch.md`."""

    batch_folder: str = Field(
        "",
        description="Folder that keeps files and batches across restarts; empty turns the batch "
        "API off. Servers must not share it; the processes of one server do.",
    )
    batch_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="A batch's next request starts only while requests use less than this share of "
        "the engines' slots, and none waits.",
    )
    batch_lines: int = Field(50_000, ge=1, description="Maximum requests in a batch.")
    batch_tenant_batches: int = Field(
        20, ge=1, description="Maximum unfinished batches of a tenant."
    )
    batch_file_bytes: int = Field(200 * MIB, ge=1024, description="Maximum bytes of a file.")
    batch_tenant_bytes: int = Field(
        4096 * MIB, ge=1024, description="Maximum bytes of all files of a tenant."
    )
    batch_file_ttl: int = Field(
        30 * 24 * 3600, ge=1, description="Seconds that a file is kept; a client may ask for fewer."
    )
