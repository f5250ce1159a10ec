"""The operators' pages on a real gateway: each shows what the gateway knows, as text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.campaign.figures import record
from tests.console.conftest import OpenConsole
from tests.console.driver import Console
from tests.console.operating import HOSTILE, Operated, operated

pytestmark = pytest.mark.asyncio(loop_scope="session")

MAX_WIRE_BYTES = 200_000


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    with operated(tmp_path_factory.mktemp("operate")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def page(gateway: Operated, browser: Browser) -> AsyncIterator[Page]:
    """One window for all tests, signed in with an admin's key; each goes to its own page."""
    window = await browser.new_context(reduced_motion="reduce", **gateway.signed_in)
    console = Console(await window.new_page(), gateway.url)
    await console.page.goto(f"{gateway.url}admin.html")
    await console.until_text("#status", "Live")
    yield console.page
    await window.close()
    console.check()


async def go(page: Page, name: str) -> None:
    await page.click(f"#tabs a[href='#{name}']")
    await expect(page.locator(f"#tabs a[href='#{name}']")).to_have_attribute("aria-current", "page")


async def rows(page: Page, selector: str) -> list[list[str]]:
    """The cells of a table's rows, as text."""
    found = await page.locator(f"{selector} tbody tr").all()
    return [await row.locator("th, td").all_inner_texts() for row in found]


async def test_the_overview_is_live(gateway: Operated, page: Page) -> None:
    await expect(page.locator(".plot canvas")).to_have_count(6)
    replicas = page.get_by_role("region", name="Replicas").locator("tbody tr")
    await expect(replicas).to_have_count(2)
    await expect(replicas.first).to_contain_text("ready")
    tile = page.locator(".tiles > div", has_text="No engine").locator("dd").first
    for _ in range(4):
        assert gateway.ask("Is it live?").is_success
    await expect(tile).to_have_text("75%")
    label = page.locator(".plot").first
    assert "answered" in str(await label.get_attribute("aria-label"))


async def test_drift_shows_the_canary_set(page: Page) -> None:
    runs = page.get_by_role("region", name="Runs on mini@0")
    for _ in range(20):  # the set is asked a second after the start
        await go(page, "settings")
        await go(page, "drift")
        await expect(page.locator("#content .note").last).to_be_visible()
        if await runs.count():
            break
    heads = await runs.locator("thead th").all_inner_texts()
    cells = await runs.locator("tbody tr").locator("th, td").all_inner_texts()
    shown = dict(zip(heads, cells, strict=True))
    assert (shown["first"], shown["changed"], shown["failed"]) == ("2", "0", "0")
    assert shown["Score"].endswith(" record")
    await expect(page.get_by_text("No answer changed.")).to_be_visible()
    await expect(page.get_by_text("No baseline: ")).to_be_visible()


async def test_an_experiment_is_drawn_and_paused_and_resumed(gateway: Operated, page: Page) -> None:
    for number in range(110):
        assert gateway.ask("Which arm?", user=str(number)).is_success
    await go(page, "experiments")
    card = page.locator(".experiment")
    await expect(card.locator(".plot canvas")).to_have_count(2)  # no feedback, no reward
    arms = {row[0]: int(row[1]) for row in await rows(page, "[aria-label='Arms of trial']")}
    assert arms.keys() == {"control", "candidate"}
    assert sum(arms.values()) >= 110
    label = card.locator(".plot").first
    assert "Latency: candidate over control: high " in str(await label.get_attribute("aria-label"))
    await expect(card).to_contain_text("A candidate as good as the model is promoted after at most")
    assert await card.locator("button").all_inner_texts() == ["Promote", "Roll back", "Pause"]
    await card.get_by_text("Pause", exact=True).click()
    await expect(card.locator("h2 .badge")).to_have_text("both models answer")
    await card.get_by_text("Really pause trial?").click()
    await expect(card.locator("h2 .badge")).to_have_text("paused: the model answers")
    assert "x-silkline-experiment" not in gateway.ask("Who?", user="1").headers
    await card.get_by_text("Resume", exact=True).click()
    await card.get_by_text("Really resume trial?").click()
    await expect(card.locator("h2 .badge")).to_have_text("both models answer")
    assert "x-silkline-experiment" in gateway.ask("Who?", user="1").headers
    decided = await rows(page, "[aria-label='Decisions of trial']")
    assert [row[4] for row in decided] == [
        "An admin resumed it.", "An admin paused it.", "The experiment begins.",
    ]  # fmt: skip
    assert decided[0][3] == "ops"


async def test_a_request_is_found_and_shown_and_deleted(gateway: Operated, page: Page) -> None:
    reply = gateway.ask(HOSTILE)
    name = reply.headers["x-request-id"]
    await go(page, "requests")
    await page.fill("#filter-id", name)
    await page.click("text=Find")
    await expect(page.locator("#found tbody tr")).to_have_count(1)
    ((shown, _, tenant, model, outcome, cache, *_),) = await rows(page, "#found")
    assert (shown, tenant, outcome, cache) == (name, "shop", "200", "miss")
    assert model == reply.headers["x-silkline-model"]

    await page.click("#found tbody a")
    content = page.locator("#retained")
    await expect(content).to_contain_text(HOSTILE)
    await expect(content).to_contain_text(reply.json()["choices"][0]["message"]["content"])
    assert await content.locator("img").evaluate_all(
        "all => all.map((one) => one.naturalWidth)"
    ) == [320]
    assert await content.locator("b").count() == 0
    ((_, _, why, *_, ended),) = await rows(page, "[aria-label=Attempts]")
    assert (why, ended) == ("no other replica could take it", "answered")
    stages = await page.locator(".legend li:not(.absent)").all_inner_texts()
    assert {"decode", "prefill", "generate"} <= {text.split()[0] for text in stages}

    await page.click("text=Delete from the history")
    await page.click("text=Really delete?")
    await page.wait_for_url("**/admin.html#requests")
    await page.fill("#filter-id", name)
    await page.click("text=Find")
    await expect(page.locator("#found")).to_contain_text("No request found.")


async def test_a_refusal_shows_its_reason(gateway: Operated, page: Page) -> None:
    reply = gateway.ask("x", model="none")
    await page.goto(f"{gateway.url}admin.html#requests/{reply.headers['x-request-id']}")
    await expect(page.locator("#content")).to_contain_text("model_not_found")
    await expect(page.locator("#content")).to_contain_text(reply.json()["error"]["message"])
    await expect(page.locator("#content")).to_contain_text("refused before it reached a replica")


async def test_older_requests_are_one_button_away(gateway: Operated, page: Page) -> None:
    for _ in range(55):
        gateway.ask("x", model="none")
    await go(page, "requests")
    await page.fill("#filter-tenant", "shop")
    await page.click("text=Find")
    await expect(page.locator("#found tbody tr")).to_have_count(50)
    await page.click("text=Older requests")
    await expect(page.locator("#found tbody tr").nth(54)).to_be_visible()


@pytest.mark.slow
async def test_models_are_described_loaded_and_unloaded(gateway: Operated, page: Page) -> None:
    await go(page, "models")
    card = page.locator("section", has=page.get_by_role("heading", name="mini"))
    await expect(card).to_contain_text("structured output")
    await expect(card).to_contain_text("No gate was run")
    await page.fill("#model-name", "extra")
    await page.fill("#model-source", "org/extra")
    await page.click("button:text-is('Load')")
    extra = page.locator("section", has=page.get_by_role("heading", name="extra"))
    await expect(extra).to_contain_text("serving", timeout=30_000)
    assert gateway.ask("x", model="extra").is_success
    await extra.get_by_text("Unload").click()
    await extra.get_by_text("Really unload extra?").click()
    await expect(extra).to_have_count(0, timeout=30_000)
    assert gateway.ask("x", model="extra").status_code == 404


async def test_a_model_that_may_not_be_loaded_shows_why(
    gateway: Operated, open_console: OpenConsole
) -> None:
    console = await open_console(gateway.url, wait=False, **gateway.signed_in)
    console.expected = ("Failed to load resource",)
    await console.page.goto(f"{gateway.url}admin.html#models")
    await console.page.fill("#model-name", "extra")
    await console.page.fill("#model-source", "foreign/model")
    await console.page.click("button:text-is('Load')")
    await console.until_text("#trouble", "allowed_models")


async def test_two_models_are_compared_word_by_word(gateway: Operated, page: Page) -> None:
    await go(page, "playground")
    await page.click("text=Use the sample picture")
    await expect(page.locator(".preview")).to_be_visible()
    await page.fill("#play-question", "What is this?")
    await page.click("text=Ask both")
    await expect(page.locator("#play-summary")).to_contain_text("Marked are the words that differ")
    left, right = [await page.inner_text(f"#side-{side} .text") for side in ("left", "right")]
    assert (len(left.split()), len(right.split())) == (6, 9)
    marked = await page.locator("#side-right mark").all_inner_texts()
    assert 3 <= len(marked) < 9
    await page.select_option("#play-right", "mini")
    await page.click("text=Ask both")
    await expect(page.locator("#play-summary")).to_contain_text("Both answers are the same")
    assert await page.locator("mark").count() == 0


async def test_tenants_settings_and_cache_show_no_secret(gateway: Operated, page: Page) -> None:
    await go(page, "tenants")
    tenants = page.get_by_role("region", name="Tenants")
    await expect(tenants.locator("tbody tr")).to_have_count(2)
    found = {row[0]: row for row in await rows(page, "[aria-label=Tenants]")}
    assert (found["shop"][2], found["shop"][5], found["shop"][6]) == ("600,000", "user", "1 hour")
    assert (found["ops"][2], found["ops"][5], found["ops"][6]) == ("no limit", "admin", "no")

    await go(page, "settings")
    await page.check("#setting-set")
    await page.fill("#setting-words", "cache_redis")
    await expect(page.locator("[aria-label=Settings] tbody tr")).to_have_count(1)
    ((name, value, source, *_),) = await rows(page, "[aria-label=Settings]")
    assert (name, source) == ("cache.cache_redis", "file silkline.toml")
    assert value == "redis://•••@127.0.0.1:9/0"
    await page.fill("#setting-words", "")
    everything = await page.inner_text("#content")
    assert "hunter2" not in everything
    assert gateway.shop not in everything

    await go(page, "cache")
    tiers = page.get_by_role("region", name="Tiers")
    await expect(tiers.locator("tbody th")).to_have_text(["memory", "redis"])
    await expect(tiers).to_contain_text("works")


async def test_alerts_fire_on_what_the_figures_show(page: Page) -> None:
    await go(page, "alerts")
    ended = """async (changes) => {
      const { firing } = await import("./alerts.js");
      const calm = { at: 60, requests: { 200: 100 }, near: {}, tiers: {}, loaded: { mini: true },
        queues: { mini: {} }, replicas: { mini: { 0: { ready: 1 } } } };
      const before = { ...calm, at: 0, requests: { 200: 50 } };
      const last = { ...calm, ...changes };
      return firing({ last, snapshots: [before, last] }).map(({ name }) => name);
    }"""
    cases: list[tuple[dict[str, object], list[str]]] = [
        ({}, []),
        ({"requests": {"200": 100, "503": 2}}, []),
        ({"requests": {"200": 100, "503": 3}}, ["Many requests fail"]),
        ({"requests": {"200": 52, "503": 3}}, []),
        ({"replicas": {"mini": {"0": {"ready": 0}}}}, ["No replica is ready"]),
        ({"replicas": {"mini": {"0": {"ready": 0}}}, "loaded": {"mini": False}}, []),
        ({"replicas": {"mini": {"0": {"ready": 1, "ejected": 1}}}}, ["Replica ejected"]),
        (
            {
                "replicas": {
                    "mini": {"0": {"ready": 1, "progress_age_seconds": 31, "engine_running": 1}}
                }
            },
            ["Engine stuck"],
        ),
        ({"tiers": {"redis": {"degraded": 1}}}, ["Cache tier fails"]),
        ({"near": {"samples": 100, "false_hits": 1}}, []),
        ({"near": {"samples": 100, "false_hits": 2}}, ["False hits of near duplicates"]),
        ({"queues": {"mini": {"predicted_wait_seconds": 11}}}, ["Long queue"]),
    ]
    for changes, expected in cases:
        assert await page.evaluate(ended, changes) == expected, changes


async def test_rates_and_quantiles_come_from_counters(page: Page) -> None:
    found = await page.evaluate(
        """async () => {
          const { derive, quantile } = await import("./live.js");
          const at = (seconds, requests, stage) => ({ at: seconds, requests, cache: requests,
            errors: {}, latency: {}, stages: { prefill: stage }, tokens: { completion: seconds },
            open_requests: 0, queues: { a: { waiting: 1 }, b: { waiting: 2 } } });
          const now = at(12, { 200: 9, 429: 2, 500: 1 }, [4, 8]);
          const point = derive(at(10, { 200: 5 }, [1, 2]), now, at(0, {}, [0, 0]));
          const counts = { 0.1: 50, 0.2: 90, "+Inf": 100 };
          return [point.traffic, point.ok, point.refused, point.failed, point.stages.prefill,
            point.waiting, point.tokens, quantile({}, counts, 0.5), quantile({}, counts, 0.7),
            quantile({}, counts, 0.99), quantile(counts, counts, 0.5)];
        }"""
    )
    assert found[:7] == [3.5, 2, 1, 0.5, 0.5, 3, 1]
    assert found[7:] == [pytest.approx(0.1), pytest.approx(0.15), 0.2, None]


async def test_the_difference_is_by_word(page: Page) -> None:
    marked = """async ([left, right]) => {
      const { difference } = await import("./difference.js");
      const { left: one, right: other } = difference(left, right);
      const shown = ({ text, differs }) => differs ? `[${text.trim()}]` : text.trim();
      const text = (words) => words.map(shown).join(" ");
      return [text(one), text(other)];
    }"""
    assert await page.evaluate(marked, ["A red mug.", "A blue  mug."]) == [
        "A [red] mug.",
        "A [blue] mug.",
    ]
    assert await page.evaluate(marked, ["", "new words"]) == ["", "[new] [words]"]
    assert await page.evaluate(marked, ["b c d", "a b d"]) == ["b [c] d", "[a] b d"]


async def test_a_user_signs_in_with_an_admin_key(
    gateway: Operated, open_console: OpenConsole
) -> None:
    user = {"http_credentials": {"username": "shop", "password": gateway.shop}}
    console: Console = await open_console(gateway.url, wait=False, **user)
    console.expected = ("Failed to load resource",)
    await console.page.goto(f"{gateway.url}admin.html")
    await console.until_text("#trouble", "does not allow this path")
    await expect(console.page.locator("#key-form")).to_be_visible()
    await console.page.fill("#key", gateway.admin)
    await console.page.click("text=Use key")
    await console.until_text("#status", "Live")
    await expect(console.page.locator("#trouble")).to_be_hidden()
    await go(console.page, "requests")
    await expect(console.page.locator("#found tbody tr").first).to_be_visible()


async def test_the_first_load_is_small(gateway: Operated, open_console: OpenConsole) -> None:
    console = await open_console(gateway.url, wait=False, **gateway.signed_in)
    session = await console.page.context.new_cdp_session(console.page)
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    await session.send("Network.enable")
    await session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    await console.page.goto(f"{gateway.url}admin.html")
    await expect(console.page.locator(".plot canvas")).to_have_count(6)
    milliseconds = await console.page.evaluate("performance.now()")
    record(
        "console-first-load", seed=0, whole=True,
        wire_bytes=round(sum(sizes)), ready_seconds=round(milliseconds / 1000, 2),
    )  # fmt: skip
    assert len(sizes) > 15
    assert sum(sizes) < MAX_WIRE_BYTES
