"""What is known about each image: records, readers, splits, and one adapter for each public set."""
