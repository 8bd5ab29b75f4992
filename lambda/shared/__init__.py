"""What more than one handler needs: the environment, the ledger, the release record, alerts, canonical JSON."""
