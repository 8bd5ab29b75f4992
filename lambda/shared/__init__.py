"""Code that several functions use: reconcile loop, steps, environment, clients, ledger, notifications."""
