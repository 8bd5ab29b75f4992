"""Run Evidently's DataDriftPreset or scipy's KS test over two Parquet files, in Evidently's own environment."""

import sys


def main(tool: str, reference: str, current: str) -> None:
    """Run `evidently` or `scipy`."""
    import pandas

    base, now = pandas.read_parquet(reference), pandas.read_parquet(current)
    if tool == "scipy":
        from scipy.stats import ks_2samp

        found = [ks_2samp(base[name], now[name]).statistic for name in base]
        print(f"{len(found)} columns, largest distance {max(found):.4f}")
        return
    from evidently import Report  # type: ignore[import-not-found]
    from evidently.presets import DataDriftPreset  # type: ignore[import-not-found]

    snapshot = Report([DataDriftPreset()]).run(now, base)
    print(len(snapshot.dict()["metrics"]), "metrics")


def parquet(array: str, target: str) -> None:
    """Convert a numpy file to Parquet."""
    import numpy
    import pandas

    rows = numpy.load(array, allow_pickle=False)
    pandas.DataFrame(rows, columns=[f"f{index}" for index in range(rows.shape[1])]).to_parquet(target)


if __name__ == "__main__":
    if sys.argv[1] == "parquet":
        parquet(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
