"""Diagnosis: from a patient's photographs to a signed report."""
