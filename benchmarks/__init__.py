"""What the README claims, measured: ratios against a peer or a floor in the same run."""
