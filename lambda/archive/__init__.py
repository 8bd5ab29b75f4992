"""Registry hygiene: export and archive versions that were rejected or superseded long ago, and never what serves."""
