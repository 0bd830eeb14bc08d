"""Arrays → answers, without torch: bundles, runtimes and the predictor."""
