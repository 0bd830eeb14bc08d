"""Whether the label can be told from where an image comes from instead of from what it shows."""
