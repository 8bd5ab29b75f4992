"""Define the delivery pipeline."""
