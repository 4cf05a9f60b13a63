"""Spectra and molecules to tensors: everything before learned weights begin."""

if not __name__.startswith("msformers."):
    raise ImportError("import msformers.tokenization")
