"""What the input and the outputs of every graph are called."""

from __future__ import annotations

INPUT_NAME = "images"
OUTPUT_NAMES = ("logits", "activation")
ATTENTION_NAME = "attention"
LUNGS_NAME = "lungs"
"""Of the lung finder's graph, the one output."""
