"""The dashboard of experiments: who answers, the arms' traffic, and the intervals."""

from __future__ import annotations

from silkline.deploy.grafana.panels import Dashboard, Panel, panel

_ARM = "{{experiment}} {{arm}}"


def experiments() -> Dashboard:
    """Returns the dashboard."""
    return Dashboard(
        "silkline-experiments",
        "Silkline: experiments",
        {
            "State": (
                panel(
                    "Candidate's share",
                    "percentunit",
                    ("silkline_experiment_share", "{{experiment}}"),
                ),
                panel(
                    "Who answers",
                    "none",
                    ("silkline_experiment_serving", "{{experiment}} {{serving}}"),
                    about="1 for what answers: both models (split), the model, the candidate, or "
                    "paused.",
                ),
                panel(
                    "Decisions by the evidence",
                    "none",
                    ("silkline_experiment_verdicts_total", "{{experiment}} {{serving}}"),
                ),
            ),
            "Arms": _arms(),
            "Intervals": (
                _interval("Latency over the control's", "latency", "none"),
                _interval("Reward minus the control's", "gain", "none"),
                _interval("Failed share of the candidate", "failures", "percentunit"),
            ),
        },
    )


def _interval(title: str, metric: str, unit: str) -> Panel:
    return panel(
        title,
        unit,
        (f'silkline_experiment_interval{{metric="{metric}"}}', "{{experiment}} {{bound}}"),
        about="The interval holds the true value at all times, however often one looks.",
    )


def _arms() -> tuple[Panel, ...]:
    return (
        panel(
            "Requests of the arms",
            "reqps",
            ("rate(silkline_experiment_requests_total[$__rate_interval])", _ARM),
            about="Control and candidate should have equally many.",
        ),
        panel("Failed requests", "none", ("silkline_experiment_failures_total", _ARM)),
        panel("Feedback", "none", ("silkline_experiment_rewards_total", _ARM)),
        panel(
            "Unequal arms",
            "none",
            ("silkline_experiment_mismatch", "{{experiment}}"),
            about="1 while nothing is concluded since the arms' sizes differ.",
        ),
        panel(
            "Requests that do not count",
            "none",
            ("silkline_experiment_lost_total", "{{experiment}}"),
            about="The journal failed when they ended.",
        ),
    )
