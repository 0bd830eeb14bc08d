"""Leave-one-source-out: the same recipe trained again and again, each time without what it is then asked of."""
