"""Is an image fit to be answered? Checks of the pixels alone, whatever the file says."""
