"""Define monitors on either engine."""
