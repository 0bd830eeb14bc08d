"""Bytes → arrays: every kind of image read within bounds, judged, and preprocessed in the one way there is."""
