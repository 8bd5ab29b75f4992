"""The monitor functions: what the analyzer finds in captured data and scheduled runs, as rows and metrics."""
