"""`python -m preflight`: what an account can do, before anything is deployed. Reads only."""
