"""Answers → objects and documents for PACS and records."""
