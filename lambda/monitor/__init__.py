"""The analyzer: captured traffic against a baseline, in Model Monitor's published files. See docs/monitoring.md."""
