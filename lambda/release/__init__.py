"""The release controller: makes what a stage serves equal to what its people approved."""
