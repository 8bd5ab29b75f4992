"""Define what every stack is made of: permissions, key, buckets, ledger, alerts, functions."""
