"""Checklists and cards of a paper, drafted from a run: what only a person can say stays marked open."""
