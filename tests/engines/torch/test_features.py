"""The cache of picture features."""

import torch

from silkline.engines.torch.features import FeatureCache


def features(tokens: int) -> torch.Tensor:
    return torch.full((tokens, 4), float(tokens))


def test_the_one_not_used_for_longest_goes_first() -> None:
    cache = FeatureCache(3 * 16)
    for name in (b"a", b"b", b"c"):
        cache.put(name, features(1))
    assert cache.get(b"a") is not None
    cache.put(b"d", features(1))
    assert cache.get(b"b") is None
    assert all(cache.get(name) is not None for name in (b"a", b"c", b"d"))
    assert cache.held_bytes == 48


def test_what_is_larger_than_the_cache_is_not_kept_and_harms_nothing() -> None:
    cache = FeatureCache(32)
    cache.put(b"a", features(2))
    cache.put(b"b", features(3))
    assert cache.get(b"b") is None
    assert cache.get(b"a") is not None
    assert FeatureCache(0).get(b"a") is None


def test_a_row_of_a_batch_does_not_keep_the_batch() -> None:
    cache = FeatureCache(1000)
    batch = torch.randn(8, 2, 4)
    cache.put(b"a", batch[3])
    kept = cache.get(b"a")
    assert kept is not None
    assert torch.equal(kept, batch[3])
    assert kept.untyped_storage().nbytes() == kept.nbytes
