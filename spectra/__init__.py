"""File to spectra: readers, writers, adducts, masses, molecules."""

if not __name__.startswith("msformers."):
    raise ImportError("import msformers.spectra")
