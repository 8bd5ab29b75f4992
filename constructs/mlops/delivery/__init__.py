"""The delivery pipeline, its alerts and its store, and the role that it assumes in each stage."""
