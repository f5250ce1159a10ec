"""Models that share a machine, and the tenants' limits."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from silkline.admission.cost import Size
from silkline.admission.tenant import Tenant
from silkline.config import AdmissionSettings, ModelSettings
from silkline.core import EngineInfo
from silkline.errors import ConfigError, RateLimited
from silkline.service.loader import ModelLoader
from silkline.service.served_model import ServedModel

FAKE = ModelSettings(engine="fake")
INFO = EngineInfo("fake", "fake", "0", "none", 1000, 1)


def ask(model: ServedModel, tenant: Tenant) -> None:
    with model.admission.admit(tenant, Size(10, (), 1), INFO, timeout_seconds=60):
        pass


async def test_a_tenants_limits_hold_for_all_models_together() -> None:
    tenant = Tenant("shop", 1.0, requests_per_minute=3, tokens_per_minute=None, salt=b"s")
    models = await ModelLoader(AdmissionSettings()).models({"a": FAKE, "b": FAKE})
    async with aclosing(models):
        a, b = models
        for model in (a, b, a):
            ask(model, tenant)
        with pytest.raises(RateLimited):
            ask(b, tenant)


async def test_a_model_that_cannot_be_prepared_is_left_out_where_it_may_fail() -> None:
    loader = ModelLoader(AdmissionSettings())
    lost = ModelSettings(engine="openvino", model="/no/such/folder")
    async with aclosing(await loader.models({"a": FAKE, "b": lost}, may_fail={"b"})) as models:
        assert [model.key for model in models] == ["a"]
    with pytest.raises(ConfigError, match="/no/such/folder"):
        await loader.models({"a": FAKE, "b": lost})
