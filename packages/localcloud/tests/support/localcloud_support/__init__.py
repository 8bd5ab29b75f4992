"""What several of the local cloud's test folders share."""
