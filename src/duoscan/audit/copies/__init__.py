"""Copies of one image within and across sources, splits and labels: found, proved on the pixels, and dealt with."""
