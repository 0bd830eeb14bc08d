"""Further heads of a bundle: fitted on a finished network's pooled features, and written into its graph."""
