"""What lies in the folder of a run, by name: ``duoscan train`` writes it, the evidence reads it."""

from __future__ import annotations

MARKER = "run.json"
"""Recipe and data it was begun with; written first."""
MANIFEST = "manifest.csv"
RECIPE = "recipe.toml"
ENVIRONMENT = "environment.json"
CHECKPOINT = "checkpoint.pt"
HISTORY = "history.csv"
BUNDLE_NAME = "model.duoscan"
"""Written last: with it the run is finished."""
TEST_PREDICTIONS = "predictions-test.csv"
"""The answers on the test rows, where somebody let the run give them."""
