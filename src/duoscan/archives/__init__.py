"""PACS and DICOMweb services: find, fetch, store."""
