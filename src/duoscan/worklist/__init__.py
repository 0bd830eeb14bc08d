"""The memory of a department: what came, what was answered, what was sent."""
