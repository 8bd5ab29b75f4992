"""Self-contained HTML pages of what monitors found: the verdict first, then what moved and how far. No script."""
