"""Programs that run in place of those in AWS's framework containers."""
