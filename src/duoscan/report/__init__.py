"""Evidence → one HTML file that a clinician can read; needs no network and no torch."""
