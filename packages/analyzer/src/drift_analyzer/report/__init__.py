"""HTML reports of monitoring runs: one self-contained page without scripts, the verdict first."""
