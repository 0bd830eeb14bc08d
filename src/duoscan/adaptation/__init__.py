"""A bundle and a hospital's own cases → a bundle for that hospital, with evidence."""
