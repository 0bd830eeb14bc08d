"""Files of many patients → one answer a patient."""
