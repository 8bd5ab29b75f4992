"""The retrain controller: from evidence to at most one run, or to the reason why not."""
