"""What every stack is made of: permissions, key, buckets, ledger, alerts, functions, and references to other stages."""
