"""Bundled demo spectra and molecules."""
