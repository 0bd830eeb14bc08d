"""Leave-one-source-out: stored answers at sources that were left out → figures of each question, and differences."""
