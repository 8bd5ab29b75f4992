"""The command line of Evergreen."""
