"""What CloudFormation checks before and while it makes a resource. Nothing here knows ministack."""
