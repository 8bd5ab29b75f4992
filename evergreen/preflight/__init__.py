"""Questions to an account before anything is deployed. Reads only."""
