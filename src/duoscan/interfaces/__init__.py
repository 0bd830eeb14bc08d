"""Thin shells around the package: the command line."""
