"""Outputs to answers: pipelines, retrieval."""

if not __name__.startswith("msformers."):
    raise ImportError("import msformers.inference")
