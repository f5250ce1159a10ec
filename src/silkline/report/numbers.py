"""How figures are written, on the terminal and in a page alike."""

from __future__ import annotations

_MIN_P = 0.001
_SECOND = 1.0
_MIB = 1024**2


def score(value: float, highest: float = 1.0) -> str:
    """A metric's value: a share in percent, others as they are."""
    return f"{value:.1%}" if highest == 1.0 else f"{value:.2f}"


def change(value: float, highest: float = 1.0) -> str:
    """A difference with its sign: in percentage points where the metric is a share."""
    shown = f"{value * 100:+.1f}" if highest == 1.0 else f"{value:+.2f}"
    return "0.0" if shown in {"+0.0", "-0.0"} else shown.replace("-", "\N{MINUS SIGN}")


def p_value(value: float) -> str:
    """A p-value to three digits."""
    return f"{value:.3f}" if value >= _MIN_P else "< 0.001"


def seconds(value: float) -> str:
    """A time in the unit that suits it."""
    return f"{value * 1000:.0f} ms" if value < _SECOND else f"{value:.2f} s"


def span(seconds: float) -> str:
    """A time for a label: `250 µs`, `2.5 ms`, `340 ms`, `1.2 s`, `4 min`, `1 h 30 min`."""
    for unit, name in ((1e-6, "µs"), (1e-3, "ms"), (1.0, "s")):
        value = float(f"{seconds / unit:.3g}")
        if value < (60 if name == "s" else 1000):
            return f"{value:g} {name}"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def clock(seconds: float) -> str:
    """A moment of a run: `7.5 s`, `2:30`."""
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:g} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}:{rest:02.0f}"


def mebibytes(count: float) -> str:
    """Bytes: `12.3 MiB`."""
    return f"{count / _MIB:.1f} MiB"
