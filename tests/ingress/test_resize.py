"""The size to which a picture is reduced."""

from hypothesis import given
from hypothesis import strategies as st

from silkline.ingress.resize import target_size

NO_LIMIT = 10**12
edges = st.integers(1, 20_000)


def as_hugging_face(width: int, height: int, size: int) -> tuple[int, int]:
    """`get_resize_output_image_size(image, size, default_to_square=False)` of transformers."""
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = size, int(size * long / short)
    return (new_short, new_long) if width <= height else (new_long, new_short)


@given(edges, edges, st.integers(1, 1000))
def test_it_is_the_size_that_the_model_would_take(width: int, height: int, edge: int) -> None:
    size = target_size(width, height, edge, NO_LIMIT)
    if min(width, height) > edge:
        assert size == as_hugging_face(width, height, edge)
        assert as_hugging_face(*size, edge) == size  # so the model's own resize changes nothing
    else:
        assert size == (width, height)


@given(edges, edges, st.none() | st.integers(1, 2000), st.integers(1, 10**7))
def test_the_limits_hold_and_nothing_grows(
    width: int, height: int, edge: int | None, max_pixels: int
) -> None:
    new_width, new_height = target_size(width, height, edge, max_pixels)
    assert 1 <= new_width <= width
    assert 1 <= new_height <= height
    assert new_width * new_height <= max_pixels
    assert target_size(height, width, edge, max_pixels) == (new_height, new_width)


@given(edges, edges, st.integers(1, 10**7), st.integers(1, 10**7))
def test_a_small_image_grows_to_its_minimum(
    width: int, height: int, min_pixels: int, more: int
) -> None:
    max_pixels = min_pixels + more + 40_000  # room for rounding up to whole pixels
    new_width, new_height = target_size(width, height, None, max_pixels, min_pixels)
    if width * height >= min_pixels:
        assert (new_width, new_height) == target_size(width, height, None, max_pixels)
    else:
        assert new_width >= width
        assert new_height >= height
        assert min_pixels <= new_width * new_height <= max_pixels
    assert target_size(width, height, 1000, max_pixels, min_pixels)[0] <= width


@given(st.integers(200, 20_000), st.integers(200, 20_000), st.integers(10_000, 10**7))
def test_the_aspect_is_kept(width: int, height: int, max_pixels: int) -> None:
    new_width, new_height = target_size(width, height, None, max_pixels)
    exact = new_width * height / width
    assert abs(new_height - exact) <= 1 + height / width


def test_examples() -> None:
    assert target_size(640, 427, 224, NO_LIMIT) == (335, 224)
    assert target_size(4000, 3000, None, 1024 * 1024) == (1182, 886)
    assert target_size(100, 100, 224, NO_LIMIT) == (100, 100)
    assert target_size(1, 200, 224, NO_LIMIT) == (1, 200)
    assert target_size(40_000, 200, 100, 10_000) == (1414, 7)
    assert target_size(100, 80, None, NO_LIMIT, 32_000) == (200, 160)
    assert target_size(100, 100, None, 262_144, 262_144) == (512, 512)
    assert target_size(1, 1, None, NO_LIMIT, 10) == (4, 4)
