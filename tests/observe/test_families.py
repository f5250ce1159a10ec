"""The metrics of several processes as one: added up, and never falling."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from silkline.observe.exposition import Format
from silkline.observe.families import Family, MergedMetrics, families_of


class Process:
    """A process with a metric of each type."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("requests", "Requests.", ["code"], registry=self.registry)
        self.open = Gauge("open", "Open requests.", registry=self.registry)
        self.ready = Gauge("ready", "1 while ready.", ["replica"], registry=self.registry)
        self.seconds = Histogram("seconds", "Seconds.", buckets=(1,), registry=self.registry)

    def families(self) -> list[Family]:
        return families_of(self.registry.collect())


def values(merged: MergedMetrics) -> dict[tuple[str, ...], float]:
    """The values by the sample's name and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(merged.render().decode())
        for sample in family.samples
    }


def test_values_are_added_up_except_for_what_is_shared() -> None:
    merged = MergedMetrics({("ready",): max, ("open", "x"): min})
    first, second = Process(), Process()
    first.requests.labels("200").inc(2)
    second.requests.labels("200").inc(3)
    second.requests.labels("503").inc()
    first.seconds.observe(0.5)
    second.seconds.observe(2)
    for process in (first, second):
        process.open.set(4)
        process.ready.labels("0").set(1)
    for index, process in enumerate((first, second)):
        merged.update(index, process.families())
    found = values(merged)
    assert found["requests_total", "200"] == 5
    assert found["requests_total", "503"] == 1
    assert found["open",] == 8
    assert found["ready", "0"] == 1
    assert (found["seconds_bucket", "1.0"], found["seconds_count",]) == (1, 2)
    assert found["seconds_sum",] == 2.5
    created = [
        sample.value
        for process in (first, second)
        for family in process.families()
        for sample in family.samples
        if sample.name == "seconds_created"
    ]
    assert found["seconds_created",] == min(created)


def test_counters_do_not_fall_when_a_process_is_replaced() -> None:
    merged = MergedMetrics({("restarts",): max})
    for life in range(1, 4):
        process = Process()
        process.requests.labels("200").inc(10)
        process.seconds.observe(0.5)
        process.open.set(7)
        merged.update(0, process.families())
        process.requests.labels("200").inc()  # never read
        merged.ended(0)
        found = values(merged)
        assert found["requests_total", "200"] == 10 * life
        assert found["seconds_count",] == life
        assert ("open",) not in found


def test_what_processes_share_is_as_the_living_ones_report_it() -> None:
    """A worker that was replaced counts from 0 again; an ended process must not hold it up."""
    merged = MergedMetrics({("requests",): max})
    old, new = Process(), Process()
    old.requests.labels("200").inc(100)
    merged.update(0, old.families())
    merged.ended(0)
    new.requests.labels("200").inc(1)
    merged.update(1, new.families())
    assert values(merged)["requests_total", "200"] == 1


def test_the_newest_exemplar_of_all_processes_is_kept() -> None:
    merged = MergedMetrics({})
    processes = [Process(), Process()]
    for index, process in enumerate(processes):
        process.seconds.observe(0.5, {"request_id": f"of process {index}"})
        merged.update(index, process.families())
    text = merged.render(Format.OPENMETRICS).decode()
    assert "of process 1" in text
    assert "of process 0" not in text


def test_what_a_process_reports_again_is_not_added_again() -> None:
    merged, process = MergedMetrics({}), Process()
    for _ in range(3):
        process.requests.labels("200").inc()
        merged.update(0, process.families())
    assert values(merged)["requests_total", "200"] == 3


def test_the_merged_text_is_that_of_one_process() -> None:
    merged, process = MergedMetrics({}), Process()
    process.requests.labels("200").inc()
    merged.update(0, process.families())
    assert merged.render() == generate_latest(process.registry)
