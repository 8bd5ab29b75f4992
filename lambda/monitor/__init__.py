"""The monitor functions: run the analyzer on captured data and on schedules; write verdict rows and metrics."""
