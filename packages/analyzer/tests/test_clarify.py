"""Bias metrics are those of AWS's own library, smclarify, which is a test dependency of the package."""

import numpy as np
import pandas
import pytest

from drift_analyzer import bias

clarify = pytest.importorskip("smclarify.bias.metrics", reason="smclarify is not installed: see pyproject.toml")
NAMES = {"DCAcc": "DCA"}
BEFORE = ("CI", "DPL", "KL", "JS", "LP", "TVD", "KS")
AFTER = ("DPPL", "DI", "DCAcc", "DCR", "SD", "RD", "DAR", "DRR", "AD", "TE")


@pytest.mark.parametrize("seed", range(5))
def test_bias_metrics_are_those_of_clarify(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = 400
    facet = generator.random(rows) < 0.3
    labels = generator.random(rows) < np.where(facet, 0.4, 0.6)
    predictions = generator.random(rows) < np.where(labels, 0.8, 0.3)
    group = generator.integers(0, 3, rows)
    sample = bias.BiasSample(labels, predictions, facet, group)
    d, y, p, g = (pandas.Series(values) for values in (facet, labels, predictions, group))
    before, after = bias.metrics_of(sample, bias.pre_training), bias.metrics_of(sample, bias.post_training)
    for name in BEFORE:
        if name == "CI":
            assert before[name] == pytest.approx(clarify.CI(d, d)), name
        elif name in ("DPL",):
            assert before[name] == pytest.approx(clarify.DPL(d, d, y)), name
        else:
            assert before[name] == pytest.approx(getattr(clarify, name)(y.astype(int), d)), name
    assert before["CDDL"] == pytest.approx(clarify.CDDL(d, d, y, g))
    assert after["CDDPL"] == pytest.approx(clarify.CDDPL(d, d, p, g))
    assert after["GE"] == pytest.approx(clarify.GE(y, p))
    for name in AFTER:
        metric = getattr(clarify, NAMES.get(name, name))
        arguments = (d, d, p) if name in ("DPPL", "DI") else (d, d, y, p)
        assert after[name] == pytest.approx(metric(*arguments)), name
