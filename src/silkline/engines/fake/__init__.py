"""The fake engine: no model, but the behaviour of one; for tests of everything around an engine."""

from silkline.engines.fake.engine import SPEC, FakeEngine, create_engine

__all__ = ["SPEC", "FakeEngine", "create_engine"]
