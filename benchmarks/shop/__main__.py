"""The guide's case, whole: a shop with 12 million requests a day, and a flash sale.

nginx with weights 3:2:1 in front of three gateways, one owner of the engine behind them, Redis and
an object store as shared caches, Prometheus, a product table with known truth. 139 requests a
second, five times as many in the sale; new products arrive, a gateway is killed and started again,
a canary runs. Every answer is checked. Then the guide's own design gets the same requests.

    python -m benchmarks.shop [--quick] [--without-naive] [--rate 139] [--sale-seconds 600]
"""

from __future__ import annotations

import argparse
import signal
import sys

import msgspec

from benchmarks.options import base_parser, place_of
from benchmarks.processes import BenchmarkError, leave
from benchmarks.report import write_report
from benchmarks.shop.page import page
from benchmarks.shop.plan import QUICK, Plan
from benchmarks.shop.report import markdown
from benchmarks.shop.whole import Whole
from silkline.errors import SilklineError

_CALM_SHARE = 0.2
_MIN_CALM_SECONDS = 20.0


def main() -> None:
    """Runs the case and writes the report; exit code 1 if a request was lost or an answer wrong."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, leave)
    try:
        whole = Whole(place_of(arguments), _plan(arguments))
        report, played = whole.run(with_naive=not arguments.without_naive)
    except (BenchmarkError, SilklineError) as error:
        sys.exit(f"benchmark: {error}")
    text = markdown(report)
    model = report.model.partition("@")[0]
    path = write_report(report, text, arguments.results, model, report.date, "shop")
    path.with_suffix(".html").write_text(page(report, played.run), encoding="utf-8")
    print(f"\n{text}\nwritten to {path}, .json and .html beside it")
    if report.lost or report.judged.wrong:
        sys.exit(f"benchmark: {report.lost} requests lost, {report.judged.wrong} answers wrong")


def _plan(arguments: argparse.Namespace) -> Plan:
    base = QUICK if arguments.quick else Plan()
    named = {field: getattr(arguments, field) for field in _FIELDS}
    changes = {field: value for field, value in named.items() if value is not None}
    if "sale_seconds" in changes:
        calm = max(_MIN_CALM_SECONDS, changes["sale_seconds"] * _CALM_SHARE)
        changes["calm_seconds"] = calm
    return msgspec.structs.replace(base, **changes)


_FIELDS = {
    "rate": (float, "requests a second outside the sale"),
    "sale_factor": (float, "so many times as many in the sale"),
    "sale_seconds": (float, "length of the sale; the time before and after it is a fifth of that"),
    "catalogue": (int, "products at the beginning"),
    "warm": (int, "most popular products that are asked for before"),
    "sample": (int, "products whose answers are compared with the model alone"),
    "machine_price": (float, "of the machine per hour"),
    "seed": (int, "equal seeds send equal requests"),
}


def _arguments() -> argparse.Namespace:
    parser = base_parser("The shop at 12 million requests a day.")
    parser.add_argument("--quick", action="store_true", help="a short run; its figures say nothing")
    parser.add_argument("--without-naive", action="store_true")
    for field, (kind, words) in _FIELDS.items():
        parser.add_argument(f"--{field.replace('_', '-')}", type=kind, help=words)
    return parser.parse_args()


if __name__ == "__main__":
    main()
