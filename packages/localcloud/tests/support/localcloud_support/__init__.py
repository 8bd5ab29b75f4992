"""Code that several test folders of the local cloud share."""
