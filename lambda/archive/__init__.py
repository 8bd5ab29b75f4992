"""Registry hygiene: what was rejected or superseded long ago is exported and archived; what serves is never touched."""
