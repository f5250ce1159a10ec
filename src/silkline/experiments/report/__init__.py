"""The report of an experiment: one HTML page with everything in it."""

from silkline.experiments.report.page import page

__all__ = ["page"]
