"""The stages that change a running server: deploy, canary, promote or roll back.

Every one asks the server what is there first, so that it can be run again at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.gate import Verdict
from silkline.ship.admin import NotThere, call
from silkline.ship.building import BUNDLE
from silkline.ship.bundles import CANARY, Bundles
from silkline.ship.journal import Kind
from silkline.ship.machine import Known, Outcome, Show
from silkline.ship.plan import BUNDLES, RENDERED, ShipPlan, To
from silkline.ship.server import LocalServer
from silkline.ship.statements import judgement
from silkline.ship.traffic import Traffic, until_decided

DEPLOY, CANARY_STAGE, PROMOTE = "deploy", "canary", "promote"

CANDIDATE_DIGITS = 8
"""Digits of its digest that a candidate's name ends in."""

_LOADING_SECONDS = 900.0
"""How long a model may take to start."""

_KEPT = frozenset({
    "workers", "max_batch", "kv_cache_bytes", "threads", "hang_timeout", "sampling_defaults",
    "cores", "memory", "idle_s", "cold_start_wait_s",
})  # fmt: skip
"""Settings of the model that the bundle gets, too; all that the admin API takes."""


class Live:
    """The server, as the stages see it."""

    def __init__(self, plan: ShipPlan) -> None:
        self._plan = plan
        self._server = LocalServer(plan.store, plan.destination.url)

    @property
    def url(self) -> str:
        """Its address."""
        return self._server.url

    async def render(self) -> Path | None:
        """Writes the settings of a server, if none answers; returns their file."""
        if await self._server.answers():
            return None
        self._server.write_settings(self._plan.settings)
        return self._server.settings_file

    async def ready(self) -> None:
        """Starts the server, if none answers and it is one of this machine.

        Raises:
            EnvironmentFault: None answers, and it cannot be started here.
        """
        to = self._plan.destination.to
        if to is To.LOCAL and (self._server.runs or not await self._server.answers()):
            await self._server.start()
        elif not await self._server.answers():
            folder = self._plan.work / RENDERED / to
            raise EnvironmentFault(
                f"Nothing answers at {self.url}. Start what {folder} describes, so that it sees "
                f"{self._plan.store / BUNDLES} as {self._plan.destination.bundles_at}; then run: "
                f"silkline ship resume {self._plan.id}"
            )

    async def call(
        self, path: str, body: Mapping[str, Any] | None = None, method: str = ""
    ) -> dict[str, Any]:
        """Calls its admin API. Raises as `admin.call` does."""
        key_env = self._plan.destination.key_env
        return await call(self.url, key_env, path, body, method=method, seconds=_LOADING_SECONDS)

    async def removed(self, path: str) -> None:
        """Removes something; idempotent."""
        try:
            await self.call(path, method="DELETE")
        except NotThere:
            return

    async def model(self, name: str) -> dict[str, Any]:
        """A model of the server. Raises `NotThere` if it has none of this name."""
        return await self.call(path_of_model(name))

    async def replaced_model(self) -> dict[str, Any]:
        """The model that the bundle is to replace.

        Raises:
            ConfigError: The server does not tell which one it is.
        """
        name, wanted = self._plan.destination.name, self._plan.model
        if name:
            return await self.model(name)
        found = (await self.call("/admin/models"))["models"]
        serving = [each for each in found if each["state"] != "draining"]
        same = [each for each in serving if wanted in {each["name"], each["settings"].get("model")}]
        if len(same or serving) != 1:
            names = ", ".join(each["name"] for each in same or serving)
            raise ConfigError(
                f"The server at {self.url} has the models {names}. Say which one is to be replaced "
                "by --as NAME."
            )
        return dict((same or serving)[0])


def path_of_model(name: str) -> str:
    """The admin API's path of a model."""
    return f"/admin/models/{quote(name, safe='')}"


def path_of_experiment(ship: str) -> str:
    """The admin API's path of a ship's experiment."""
    return f"/admin/experiments/{experiment_of(ship)}"


def experiment_of(ship: str) -> str:
    """The name of a ship's experiment."""
    return f"ship-{ship}"


class Deploy:
    """Serves the bundle beside the model, without requests."""

    name = DEPLOY

    def __init__(self, plan: ShipPlan, live: Live) -> None:
        self._plan = plan
        self._live = live

    async def run(self, known: Known, show: Show) -> Outcome:
        """Starts the server if none answers, and has it load the bundle."""
        packed = known[BUNDLE]
        show("starting the server", 0, 1, "")
        await self._live.ready()
        replaced = await self._live.replaced_model()
        name, table = replaced["name"], _table(self._plan, replaced, packed)
        candidate = f"{name}-{packed['digest'][:CANDIDATE_DIGITS]}"
        show(f"loading {packed['label']}", 0, 1, "")
        shown = await self._live.call(path_of_model(candidate), table, "PUT")
        _check_revision(shown, packed)
        aliases = replaced["settings"].get("aliases", [])
        facts = {"model": name, "candidate": candidate, "table": table | {"aliases": aliases}}
        return Outcome(Kind.DONE, f"{candidate} is loaded beside {name}.", facts)


class Canary:
    """Compares the candidate with the model on a share of the requests, until there is a verdict.

    The requests are those of clients, and the data set's, which are sent here.
    """

    name = CANARY_STAGE

    def __init__(self, plan: ShipPlan, live: Live) -> None:
        self._plan = plan
        self._live = live

    async def run(self, known: Known, show: Show) -> Outcome:
        """Starts the experiment or finds it running, and sends requests until it decides."""
        plan, deployed = self._plan, known[DEPLOY]
        await self._live.ready()
        await self._deployed(deployed)
        path = path_of_experiment(plan.id)
        settings = plan.experiment(deployed["model"], deployed["candidate"])
        await self._live.call(path, settings.model_dump(mode="json", exclude_unset=True), "PUT")

        async def look() -> dict[str, Any]:
            return await self._live.call(path)

        traffic = Traffic(plan, self._live.url, deployed["model"])
        found = await until_decided(traffic, look, show, plan.destination.requests)
        last = found["decisions"][-1]
        serving = found["serving"]
        verdict = {"candidate": Verdict.PASSED, "model": Verdict.REFUSED}.get(
            serving, Verdict.UNDECIDED
        )
        reason = found["reason"] if verdict is Verdict.UNDECIDED else last["reason"]
        arms = found["evidence"]["arms"]
        self._write(known, verdict, found)
        facts = {
            "verdict": verdict,
            "share": max(each["share"] for each in found["decisions"] if each["share"] < 1),
            "requests": {arm: each["requests"] for arm, each in arms.items()},
        }
        return Outcome(Kind.DONE, f"{verdict.capitalize()}: {reason}", facts)

    async def _deployed(self, deployed: Mapping[str, Any]) -> None:
        """Loads the candidate again if the server forgot it."""
        candidate = deployed["candidate"]
        try:
            await self._live.model(candidate)
        except NotThere:
            table = {name: each for name, each in deployed["table"].items() if name != "aliases"}
            await self._live.call(path_of_model(candidate), table, "PUT")

    def _write(self, known: Known, verdict: Verdict, found: Mapping[str, Any]) -> None:
        """Writes the statement about the verdict, with the evidence that it rests on."""
        bundles = Bundles(self._plan.store / BUNDLES)
        digest = known[BUNDLE]["digest"]
        bundle = bundles.find(digest)[0]
        about = {"name": f"experiment {found['name']}", "annotations": found}
        statement = judgement(bundle, digest, {"canary": verdict}, [about])
        bundles.write(digest, self._plan.id, {CANARY: statement})


class Promote:
    """Lets the bundle answer all requests, also after a restart; or removes it."""

    name = PROMOTE

    def __init__(self, plan: ShipPlan, live: Live) -> None:
        self._plan = plan
        self._live = live

    async def run(self, known: Known, show: Show) -> Outcome:
        """Ends the experiment, removes the candidate, and replaces the model if it was better.

        The model answers while the bundle is loaded in its place: at most two are in memory.
        """
        deployed, packed, canary = known[DEPLOY], known[BUNDLE], known[CANARY_STAGE]
        name = deployed["model"]
        await self._live.ready()
        await self._live.removed(path_of_experiment(self._plan.id))
        await self._live.removed(path_of_model(deployed["candidate"]))
        if canary["verdict"] != Verdict.PASSED:
            about = f"{name} answers all requests as before."
            return Outcome(Kind.REFUSED, about, {"rolled_back": True})
        show(f"replacing {name}", 0, 1, "")
        shown = await self._live.call(path_of_model(name), deployed["table"], "PUT")
        _check_revision(shown, packed)
        return Outcome(Kind.DONE, f"{name} is {packed['label']}.", {"digest": packed["digest"]})


def _table(
    plan: ShipPlan, replaced: Mapping[str, Any], packed: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings that serve the bundle as the model is served."""
    folder = plan.destination.bundles_at / packed["digest"] / BUNDLE
    kept = {name: each for name, each in replaced["settings"].items() if name in _KEPT}
    return kept | {"model": str(folder), "engine": packed["engine"]}


def _check_revision(shown: Mapping[str, Any], packed: Mapping[str, Any]) -> None:
    revision = packed["label"].rpartition("@")[2]
    if shown.get("revision") != revision:
        raise EnvironmentFault(
            f"The server serves {shown.get('name')}@{shown.get('revision')} where "
            f"{packed['label']} was loaded. Look into its log, then resume."
        )
