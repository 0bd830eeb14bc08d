"""Results as DICOM objects and FHIR resources, linked to the instances they were made from, and archives of both."""
