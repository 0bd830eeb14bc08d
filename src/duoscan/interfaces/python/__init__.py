"""The Python API: what the commands do, with arrays and data frames in, tables and figures out."""
