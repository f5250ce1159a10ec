"""Backgrounds and camera effects, all on float32 arrays of shape (size, size, 3) in 0..255."""

from __future__ import annotations

import colorsys
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Floats = NDArray[np.float32]


def _muted_colour(rng: np.random.Generator) -> Floats:
    saturation = float(rng.uniform(0.0, 0.32))
    rgb = colorsys.hsv_to_rgb(float(rng.random()), saturation, float(rng.uniform(0.35, 1.0)))
    return np.asarray(rgb, dtype=np.float32) * 255.0


def contrasting_colour(rng: np.random.Generator, avoid: Floats, distance: float = 95.0) -> Floats:
    """Return a muted RGB colour at least ``distance`` away from the item colour ``avoid``."""
    for _ in range(30):
        colour = _muted_colour(rng)
        if float(np.linalg.norm(colour - avoid)) >= distance:
            return colour
    return np.full(3, 235.0 if float(avoid.mean()) < 128 else 70.0, dtype=np.float32)


def backdrop(kind: str, size: int, avoid: Floats, rng: np.random.Generator) -> Floats:
    """Paint a background of the given kind; returns (size, size, 3) float32."""
    base = contrasting_colour(rng, avoid)
    ramp = np.linspace(0.0, 1.0, size, dtype=np.float32)
    if kind == "plain":
        return np.broadcast_to(base, (size, size, 3)).copy()
    if kind == "gradient":
        return _gradient(base, ramp, rng)
    if kind == "textured":
        return _texture(size, base, ramp, rng)
    return _shelf(size, base, ramp, avoid, rng)


def _gradient(base: Floats, ramp: Floats, rng: np.random.Generator) -> Floats:
    factor = float(rng.uniform(0.45, 0.62))
    other = base * factor if base.mean() > 130 else base + (255.0 - base) * (1.0 - factor)
    angle = float(rng.uniform(0, 2 * np.pi))
    weight = np.cos(angle) * (ramp[None, :] - 0.5) + np.sin(angle) * (ramp[:, None] - 0.5) + 0.5
    weight = np.clip(weight, 0.0, 1.0)[:, :, None]
    mixed: Floats = base * (1 - weight) + other * weight
    return mixed


def _texture(size: int, base: Floats, ramp: Floats, rng: np.random.Generator) -> Floats:
    strength = float(rng.uniform(0.12, 0.22))
    if rng.random() < 0.5:
        cells = int(rng.integers(12, 28))
        noise = rng.integers(0, 256, (cells, cells), dtype=np.uint8)
        field = Image.fromarray(noise).resize((size, size), Image.Resampling.BILINEAR)
        weight = np.asarray(field, dtype=np.float32) / 127.5 - 1.0
    else:
        waves, angle = float(rng.uniform(60, 110)), float(rng.uniform(0, np.pi))
        phase = np.cos(angle) * ramp[None, :] + np.sin(angle) * ramp[:, None]
        across = -np.sin(angle) * ramp[None, :] + np.cos(angle) * ramp[:, None]
        weight = np.sin(waves * phase) * np.sin(waves * across)
    return base * (1.0 + strength * weight[:, :, None])


def _shelf(
    size: int, base: Floats, ramp: Floats, avoid: Floats, rng: np.random.Generator
) -> Floats:
    floor = contrasting_colour(rng, avoid, 80.0)
    if float(np.linalg.norm(floor - base)) < 45.0:
        floor = base * 0.62
    edge = float(rng.uniform(0.6, 0.8))
    rows = np.where(
        ramp[:, None] < edge, base[None, :], floor[None, :] * (1.25 - 0.35 * ramp)[:, None]
    )
    near = (np.abs(ramp - edge) < 0.012)[:, None]
    rows = np.where(near, rows * 0.6, rows)
    return np.broadcast_to(rows[:, None, :], (size, size, 3)).astype(np.float32)


def develop(picture: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Apply light, colour cast, softness, noise and at times JPEG; returns uint8 pixels."""
    size = picture.shape[0]
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    angle, slope = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.0, 0.25))
    light = 1.0 + slope * (np.cos(angle) * ramp[None, :] + np.sin(angle) * ramp[:, None])
    cast = rng.uniform(0.97, 1.03, 3).astype(np.float32) * float(rng.uniform(0.87, 1.08))
    picture = picture * (light[:, :, None] * cast)
    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    softness = float(rng.uniform(-0.5, 0.7)) * size / 96
    if softness > 0.1:
        pixels = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(softness)))
    noise = float(rng.uniform(-2.0, 6.0))
    if noise > 0.5:
        # Coarse-grained on purpose: one noise plane for all channels is three times cheaper.
        grain = rng.standard_normal((size, size, 1), dtype=np.float32) * noise
        pixels = np.clip(pixels + grain, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        pixels = _jpeg(pixels, int(rng.integers(45, 90)))
    return pixels


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as decoded:
        return np.asarray(decoded.convert("RGB"))
