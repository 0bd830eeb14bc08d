"""Whether data and model can be trusted: copies, patients, confounding, shortcuts, attention, and the gate."""
