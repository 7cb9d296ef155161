"""Generators of the built-in data sets: photographs, faces, crowds and streets; no loaders."""
