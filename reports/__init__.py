"""Answers to tables and pictures; the only place that draws."""

if not __name__.startswith("msformers."):
    raise ImportError("import msformers.reports")
