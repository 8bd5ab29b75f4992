"""Parts of every stack: permissions, key, buckets, ledger, alerts, functions, and references to other stages."""
