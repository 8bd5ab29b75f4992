"""Define the retrain controller and the archive."""
