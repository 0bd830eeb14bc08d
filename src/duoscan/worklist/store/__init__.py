"""The memory of a reading room: one database (SQLite or PostgreSQL) and a folder of images named by their content."""
