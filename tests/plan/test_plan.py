"""Plans: what they hold, and how they follow the workload."""

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from silkline.bench.record import Run
from silkline.bench.results import figures_json
from silkline.bench.spec import Arrivals, Spec, Traffic
from silkline.bench.summary import Generator, Summary, distribution
from silkline.cli.main import silkline
from silkline.errors import ConfigError
from silkline.plan.devices import DEVICES, HERE, find_device
from silkline.plan.memory import memory_of
from silkline.plan.plan import UTILISATION, Choice, choose, make_plan
from silkline.plan.roofline import Reached, timing
from silkline.plan.sensitivity import variations
from silkline.plan.shape import Shape
from silkline.plan.workload import Workload, parse_count, parse_rate
from tests.models.samples import LLAVA_15_7B

LLAVA = Shape("llava", 320_000_000, 6_740_000_000, 32, 4096, 524_288, 576)
WORK = Workload(12e6 / 86400, 2.0, hit_rate=0.9)
SHARES = Reached()


def found(work: Workload, device: str = "a100-40gb", bits: int = 8) -> Choice:
    choice = choose(LLAVA, work, find_device(device), bits, SHARES, 2.0)
    assert isinstance(choice, Choice)
    return choice


def other(**fields: float) -> Workload:
    return msgspec.structs.replace(WORK, **fields)


def test_the_table_has_twenty_devices_with_sources() -> None:
    assert len(DEVICES) >= 20
    assert all(
        each.source and each.memory and each.bandwidth and each.flops for each in DEVICES.values()
    )


def test_a_single_request_takes_what_the_roofline_says() -> None:
    """By hand, for LLaVA-1.5-7B in 16 bits on an A100: prefill by operations, steps by bytes."""
    device = find_device("a100-40gb")
    alone = timing(LLAVA, WORK, device, 1, 16, Reached(1.0, 1.0, 0.0, prefill_overhead=0.0))
    operations = 2 * (0.32e9 * 576 + 6.74e9 * 608) + 2 * 32 * 4096 * 608**2
    assert alone.prefill == pytest.approx(operations / 312e12)
    assert alone.step == pytest.approx((2 * 6.74e9 + 640 * 524_288) / 1555e9)
    assert alone.latency == pytest.approx(alone.prefill + 64 * alone.step)


def test_memory_is_counted_by_part() -> None:
    parts = memory_of(LLAVA, WORK, find_device("a100-40gb"), 4, 16)
    assert parts.weights == 2 * 7_060_000_000
    assert parts.cache == 4 * (576 + 32 + 64) * 524_288
    assert parts.total == parts.weights + parts.cache + parts.activations + parts.overhead


@given(st.floats(1.01, 4.0))
def test_more_traffic_never_takes_fewer_replicas(times: float) -> None:
    assert found(other(rate=WORK.rate * times)).replicas >= found(WORK).replicas


def test_what_is_chosen_keeps_the_slo_the_memory_and_the_utilisation() -> None:
    plan = make_plan(LLAVA, WORK, DEVICES.values(), price=2.0)
    assert plan.choices
    for one in plan.choices:
        assert one.p99 <= WORK.slo
        assert one.utilisation <= UTILISATION + 1e-9
        assert one.memory.total <= one.cards * DEVICES[one.device].memory
    costs = [one.cost for one in plan.choices]
    assert costs == sorted(costs, key=lambda cost: cost or 0)
    served = {(one.device, one.bits) for one in plan.choices}
    refused = {(one.device, one.bits) for one in plan.refusals}
    assert served | refused == {(device, bits) for device in DEVICES for bits in (16, 8, 4)}
    assert not served & refused


def test_the_cost_is_that_of_all_answers() -> None:
    one = found(WORK)
    assert one.cost == pytest.approx(2.0 * one.replicas / (WORK.rate * 3600) * 1e6)


def test_a_model_too_large_for_a_card_is_spread_over_several() -> None:
    large = msgspec.structs.replace(LLAVA, decoder=34_000_000_000)
    one = choose(large, other(slo=30.0), find_device("a100-40gb"), 16, SHARES, None)
    assert isinstance(one, Choice)
    assert one.cards == 2


def test_what_cannot_keep_the_slo_says_why() -> None:
    refusal = choose(LLAVA, other(slo=0.01), find_device("t4"), 16, SHARES, None)
    assert not isinstance(refusal, Choice)
    assert "one request alone takes" in refusal.why


def test_variations_name_what_changes() -> None:
    told = {
        each.change: each.choice for each in variations(LLAVA, WORK, DEVICES["h100"], 8, SHARES)
    }
    asked, without = told["as asked"], told["no answer cache"]
    assert asked is not None
    assert without is not None
    assert without.replicas > asked.replicas


@pytest.mark.parametrize(
    ("text", "rate"), [("12M/day", 12e6 / 86400), ("140/s", 140.0), ("500k/h", 500e3 / 3600)]
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate(text) == pytest.approx(rate)


def test_counts() -> None:
    assert parse_count("7.06B") == 7_060_000_000
    with pytest.raises(ConfigError):
        parse_count("many")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(silkline, ["plan", *arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LLaVA-1.5-7B without its weights."""
    made = tmp_path_factory.mktemp("llava")
    for name, content in LLAVA_15_7B.items():
        (made / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return made


ASKED = ("--traffic", "12M/day", "--slo", "p99=2s", "--hit-rate", "0.9")


def test_a_model_without_weights_is_planned_with_its_parameters(
    folder: Path, tmp_path: Path
) -> None:
    size = ("--parameters", "7.06B", "--vision-parameters", "0.32B")
    page = tmp_path / "plan.html"
    done = run(str(folder), *ASKED, *size, "--device", "a100-40gb", "--json", "-o", str(page))
    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)
    assert plan["shape"]["image_tokens"] == 576
    assert {choice["bits"] for choice in plan["choices"]} == {16, 8, 4}
    assert "a100-40gb, 8 bits" in page.read_text()


def test_the_bundled_model_needs_no_parameters() -> None:
    done = run("silkline-mini", *ASKED, "--device", "l4")
    assert done.exit_code == 0
    assert "4.23 million parameters" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--traffic", "1/s"), "--slo"),
    ],
)
def test_a_wrong_word_is_told(arguments: tuple[str, ...], said: str) -> None:
    failed = run("silkline-mini", *arguments)
    assert failed.exit_code == 2
    assert said in failed.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--traffic", "many", "--slo", "p99=2s"), "is not a rate"),
        ((*ASKED, "--device", "abacus"), "There is no device abacus"),
        (("--traffic", "1/s", "--slo", "p95=2s"), "for the P99"),
        (("--traffic", "1/s", "--slo", "soon"), "is not NAME<=VALUE"),
        (("--traffic", "1/s", "--slo", "p99=0.8x"), "is not an objective"),
        (("--traffic", "1/s", "--slo", "size<=1GB"), "is not an objective"),
    ],
)
def test_what_cannot_be_planned_is_told(arguments: tuple[str, ...], said: str) -> None:
    failed = run("silkline-mini", *arguments)
    assert isinstance(failed.exception, ConfigError)
    assert said in failed.exception.message


def test_a_folder_without_weights_asks_for_the_parameters(folder: Path) -> None:
    failed = run(str(folder), *ASKED)
    assert isinstance(failed.exception, ConfigError)
    assert "--parameters" in failed.exception.message


def load_test(path: Path, clients: int) -> Path:
    """The figures of a load test in which each request took 100 ms of prefill and 10 ms a step."""
    none = distribution([])
    stages = {name: distribution([seconds]) for name, seconds in STAGES.items()}
    latency = distribution([sum(STAGES.values())])
    summary = Summary(
        name="A", url="http://127.0.0.1:1", seconds=10.0, requests=100 * clients,
        served=100 * clients, good=0, slo=1.0, latency=latency, by_cache={}, by_stage=stages,
        first_token=none, gaps=none, failures=[], completion_tokens=2000 * clients,
        generator=Generator(none, 0, 0.0, 1, 0, 0),
    )  # fmt: skip
    spec = Spec((), Arrivals(1.0, 10.0, clients=clients), Traffic(pixels=384))
    path.write_bytes(figures_json(Run(spec, "", "", [], []), [summary], None))
    return path


STAGES = {"decode": 0.02, "prefill": 0.1, "generate": 0.2, "outside": 0.01}


def test_a_load_test_replaces_the_assumed_shares(tmp_path: Path) -> None:
    file = load_test(tmp_path / "alone.json", 1)
    asked = ("--traffic", "1/s", "--slo", "p99=5s", "--images", "384x384", "--answer-tokens", "20")
    done = run("silkline-mini", *asked, "--device", "l4", "--measured-on", "l4",
               "--calibrate", str(file), "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)
    (one,) = (choice for choice in plan["choices"] if choice["bits"] == 8)
    assert one["timing"]["prefill"] == pytest.approx(0.1, rel=0.02)
    assert one["timing"]["step"] == pytest.approx(0.01, rel=0.1)
    assert plan["reached"]["decode"] == pytest.approx(0.02 / 0.147456)
    assert plan["verification"] is None


@pytest.mark.full
def test_a_plan_is_verified_here(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    asked = ("--traffic", "1/s", "--slo", "p99=5s", "--images", "384x384", "--device", HERE)
    done = run("silkline-mini", *asked, "--engine", "openvino", "--verify", "--keep", str(kept))
    assert done.exit_code == 0, done.output
    assert "measured here" in done.output
    again = run("silkline-mini", *asked, *(f"--calibrate={path}" for path in kept.iterdir()))
    assert again.exit_code == 0, again.output
