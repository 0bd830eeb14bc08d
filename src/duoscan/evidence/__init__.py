"""One subject: a run, a bundle or a table on named rows, read, counted, evaluated, judged."""
