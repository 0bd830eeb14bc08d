"""Two phases → a decision, and what is promised of it."""
