"""Digests tell pictures apart."""

from hypothesis import given
from hypothesis import strategies as st

from silkline.ingress.identity import image_digest


def test_it_is_blake2b_256_over_mode_size_and_pixels() -> None:
    """The expected value is that of `printf 'RGB 1 1\\n\\0\\0\\0' | b2sum -l 256`."""
    expected = "c0fa12c6dd5752e9d5b7f7f0ee6c833361aa860c4b3e0b2007be497f99fe8559"
    assert image_digest("RGB", 1, 1, b"\0\0\0") == expected


def test_size_and_mode_count() -> None:
    pixels = bytes(30 * 100 * 3)
    digests = {
        image_digest("RGB", 30, 100, pixels),
        image_digest("RGB", 100, 30, pixels),
        image_digest("BGR", 30, 100, pixels),
        image_digest("L", 90, 100, pixels),
        image_digest("RGB", 30, 100, pixels[:-1] + b"\1"),
    }
    assert len(digests) == 5


sizes = st.integers(1, 10**6)


@given(st.tuples(sizes, sizes, st.binary(max_size=8)), st.tuples(sizes, sizes, st.binary()))
def test_different_pictures_have_different_digests(
    one: tuple[int, int, bytes], other: tuple[int, int, bytes]
) -> None:
    assert (image_digest("RGB", *one) == image_digest("RGB", *other)) == (one == other)
