"""From a patient's photographs to a signed report."""
