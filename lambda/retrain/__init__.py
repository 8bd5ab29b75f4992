"""The retrain controller: evidence → at most one run, or one sentence that says why not."""
