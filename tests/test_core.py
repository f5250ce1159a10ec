from silkline.core import Sampling


def test_greedy_and_seeded_sampling_is_deterministic() -> None:
    assert Sampling().is_deterministic
    assert Sampling(temperature=0.7, seed=0).is_deterministic
    assert not Sampling(temperature=0.7).is_deterministic
