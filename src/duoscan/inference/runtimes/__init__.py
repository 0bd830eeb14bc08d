"""What runs a bundle's graph: a protocol, a registry that opens one by its name, and a file for each."""
