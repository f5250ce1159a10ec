"""Calibration by load tests: what was measured is predicted again, and other workloads follow."""

from pathlib import Path

import msgspec
import pytest

from silkline.errors import ConfigError
from silkline.plan.calibration import Measured, calibrate, read_measured
from silkline.plan.device import Device
from silkline.plan.devices import HERE, find_device
from silkline.plan.memory import memory_of
from silkline.plan.prediction import Figures, Load, predict
from silkline.plan.roofline import Reached, service_times
from silkline.plan.shape import Shape
from silkline.plan.workload import Workload

SHAPE = Shape("small", 200_000, 200_000, 4, 192, 2304, 64)
LARGE = Shape("large", 90_000_000, 140_000_000, 30, 576, 69_120, 196)
HOST = Device("host", 24 * 10**9, 2e10, 2e11, 0.0, "made up", cores=2)
CARD = Device("card", 24 * 10**9, 6e11, 1e14, 0.0, "made up")
WORK = Workload(1.0, 1.0, image=(512, 512), answer_tokens=20)

TRUE = Reached(0.4, 0.6, 0.0008, prefill_overhead=0.006, request_overhead=0.0002,
               gateway=0.002, decode=0.02)  # fmt: skip


def measured(shape: Shape, device: Device, shares: Reached, clients: int) -> Measured:
    """What a load test of so many clients finds where the shares are true."""
    times = service_times(shape, WORK, device, 16, 8, shares)
    rate = 1 / times.alone()
    if clients > 1:
        steps = times.answer_tokens * times.step_seconds(clients) / clients
        rate = 1 / (times.prefill + steps)
    generate = times.answer_tokens * times.step_seconds(1)
    if clients > 1:  # the steps of a full batch, and the prefills that stop it meanwhile
        generate = clients / rate
    return Measured(
        rate=rate,
        latency=clients / rate,
        p99=clients / rate,
        prefill=times.prefill,
        generate=generate,
        preparing=WORK.megapixels * shares.decode,
        tokens=times.answer_tokens,
        pixels=512,
    )


def calibrated(shape: Shape, device: Device, true: Reached, *clients: int) -> Reached:
    runs = [measured(shape, device, true, count) for count in clients]
    return calibrate(shape, WORK, device, 8, runs)


@pytest.mark.parametrize("device", [HOST, CARD])
@pytest.mark.parametrize("shape", [SHAPE, LARGE])
def test_another_workload_is_predicted_after_two_load_tests(shape: Shape, device: Device) -> None:
    found = calibrated(shape, device, TRUE, 1, 16)
    for fields in ({"answer_tokens": 40}, {"image": (1024, 1024)}, {"answer_tokens": 5}):
        other = msgspec.structs.replace(WORK, **fields)
        real = service_times(shape, other, device, 16, 8, TRUE)
        own = service_times(shape, other, device, 16, 8, found)
        assert own.alone() == pytest.approx(real.alone(), rel=0.1)
        assert own.answers_per_second() == pytest.approx(real.answers_per_second(), rel=0.1)


def test_a_single_run_tells_the_times_of_a_single_request() -> None:
    found = calibrated(SHAPE, HOST, TRUE, 1)
    own = service_times(SHAPE, WORK, HOST, 1, 8, found)
    assert own.alone() == pytest.approx(
        service_times(SHAPE, WORK, HOST, 1, 8, TRUE).alone(), rel=0.02
    )


def test_a_fixed_time_is_fitted_for_a_small_model_and_a_share_for_a_large_one() -> None:
    small = calibrated(SHAPE, HOST, TRUE, 1, 16)
    assert small.prefill_overhead == pytest.approx(TRUE.prefill_overhead, rel=0.3)
    assert small.compute == Reached().compute
    large = calibrated(LARGE, HOST, TRUE, 1, 16)
    assert large.compute == pytest.approx(TRUE.compute, rel=0.2)
    assert large.prefill_overhead == Reached().prefill_overhead


def test_an_engine_that_encodes_beside_the_steps_keeps_its_rate() -> None:
    """More answers a second than prefills one after the other allow."""
    alone = measured(SHAPE, HOST, TRUE, 1)
    rate = 1.2 / alone.prefill
    full = msgspec.structs.replace(alone, rate=rate, latency=16 / rate, generate=12 / rate)
    found = calibrate(SHAPE, WORK, HOST, 8, [alone, full])
    times = service_times(SHAPE, WORK, HOST, 16, 8, found)
    assert times.prefill < alone.prefill
    assert times.alone() == pytest.approx(alone.latency, rel=0.02)


def test_a_processor_gives_its_cores_to_decoding_and_a_card_does_not() -> None:
    larger = msgspec.structs.replace(WORK, image=(2048, 2048))
    for device, differs in ((HOST, True), (CARD, False)):
        small, large = (
            service_times(SHAPE, work, device, 16, 8, TRUE).prefill for work in (WORK, larger)
        )
        assert (large > small) is differs


def test_the_memory_of_a_processor_does_not_grow_with_the_machine() -> None:
    twice = msgspec.structs.replace(HOST, memory=2 * HOST.memory)
    assert memory_of(SHAPE, WORK, HOST, 4, 8) == memory_of(SHAPE, WORK, twice, 4, 8)


def test_a_loaded_replica_is_predicted() -> None:
    times = service_times(SHAPE, WORK, HOST, 16, 8, TRUE)

    def found(load: Load, **fields: float) -> Figures:
        work = msgspec.structs.replace(WORK, **fields)
        return predict(SHAPE, work, HOST, 8, TRUE, load, batch=16, lengths=(20,))

    alone, full = found(Load(20, clients=1)), found(Load(20, clients=16))
    assert alone.mean == pytest.approx(times.alone(), rel=0.02)
    assert alone.throughput == pytest.approx(1 / times.alone(), rel=0.02)
    assert full.throughput == pytest.approx(times.answers_per_second(), rel=0.1)
    rate = times.answers_per_second() / 2
    cached = found(Load(20, rate=rate), hit_rate=0.9)
    assert cached.throughput == pytest.approx(rate, rel=0.2)
    assert cached.mean < alone.mean / 4
    assert cached.p99 > cached.mean


def test_errors_are_signed_shares_of_what_was_measured() -> None:
    predicted, real = Figures(None, 12.0, 0.9, 2.0), Figures(100, 10.0, 1.0, 0.0)
    errors = {name: predicted.error(name, real) for name in ("memory", "throughput", "mean", "p99")}
    assert errors["throughput"] == pytest.approx(0.2)
    assert errors["mean"] == pytest.approx(-0.1)
    assert errors["memory"] is None
    assert errors["p99"] is None


def test_this_machine_is_a_device() -> None:
    here = find_device(HERE)
    assert here.cores >= 1
    assert here.memory > 10**8
    assert here.flops > 10**9
    assert here.bandwidth > 10**8
    assert "measured" in here.source


@pytest.mark.parametrize(
    "content", ["", "{}", '{"spec": {"traffic": {"pixels": 64}}, "targets": []}']
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "summary.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="not the result of a load test"):
        read_measured(path)
