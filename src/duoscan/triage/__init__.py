"""Two phases become one answer per patient."""
