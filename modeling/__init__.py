"""Tensors to outputs: one model, one file."""

if not __name__.startswith("msformers."):
    raise ImportError("import msformers.modeling")
