"""Predictions → evidence: metrics with intervals and baselines, curves, figures, comparison. No torch."""
