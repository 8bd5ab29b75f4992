"""Captured traffic against a baseline, in Model Monitor's published files. Knows no AWS."""
