"""Policies as measured on patients."""
