"""What only the hub has: the retrain controller, the archive and the approver."""
