"""Molecule banks and search."""
