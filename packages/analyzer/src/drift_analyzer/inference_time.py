"""Parse inference times, many at once, and sort them into windows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drift_analyzer.window_state import Floats

Epochs = NDArray[np.int64]
_PLACES = np.array([0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18])
_MARKS = {4: ord("-"), 7: ord("-"), 10: ord("T"), 13: ord(":"), 16: ord(":")}
_SECOND = 19
TIME_LENGTHS = (20, 24, 27)
"""Lengths of `…SSZ`, and of times with milliseconds and microseconds."""
_MONTH_DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_BEFORE_MONTH = np.concatenate([[0], np.cumsum(_MONTH_DAYS)[:-1]])
NO_WINDOW = -(1 << 62)
"""Window start of a record outside the time range."""


def digits_to_epoch(text: NDArray[np.uint8]) -> tuple[Epochs | Floats, NDArray[np.bool_]]:
    """Convert `YYYY-MM-DDTHH:MM:SSZ`, or with `.fff` or `.ffffff` before the Z, as bytes, shape (rows, length).

    Returns:
        Epoch seconds, and whether each row is such a time.
    """
    epochs, good = _whole_seconds(text)
    good &= text[:, -1] == ord("Z")
    if text.shape[1] == TIME_LENGTHS[0]:
        return epochs, good
    fraction = text[:, _SECOND + 1 : -1].astype(np.int64) - 48
    good &= (text[:, _SECOND] == ord(".")) & ((fraction >= 0) & (fraction <= 9)).all(axis=1)
    places = fraction.shape[1]
    parts = fraction @ 10 ** np.arange(places - 1, -1, -1, dtype=np.int64)
    # One division of whole numbers rounds as `datetime.timestamp` does.
    return (epochs * 10**places + parts) / 10.0**places, good


def _whole_seconds(text: NDArray[np.uint8]) -> tuple[Epochs, NDArray[np.bool_]]:
    digits = text[:, _PLACES].astype(np.int64) - 48
    good = ((digits >= 0) & (digits <= 9)).all(axis=1)
    for place, mark in _MARKS.items():
        good &= text[:, place] == mark
    pairs = digits[:, ::2] * 10 + digits[:, 1::2]
    century, decade, month, day, hour, minute, second = pairs.T
    year = century * 100 + decade
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    good &= (month >= 1) & (month <= 12) & (hour < 24) & (minute < 60) & (second < 60) & (year >= 1)
    index = np.where(good, month - 1, 0)
    good &= (day >= 1) & (day <= _MONTH_DAYS[index] + (leap & (month == 2)))
    last = year - 1
    days = last * 365 + last // 4 - last // 100 + last // 400 + _BEFORE_MONTH[index] + (leap & (month > 2)) + day
    return (days - 719163) * 86400 + hour * 3600 + minute * 60 + second, good


@dataclass(frozen=True, slots=True)
class TimeWindows:
    """Windows of inference time.

    Attributes:
        seconds: Length of a window; windows begin at multiples of it since the epoch. None: one window.
        start: Begin of the time range, epoch seconds, inclusive.
        end: End of the time range, epoch seconds, exclusive.
    """

    seconds: int | None = None
    start: float | None = None
    end: float | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None and self.seconds < 1:
            raise ValueError(f"a window is a second or longer, got {self.seconds} s")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError("the end of the time range is not after its start")

    @property
    def unbounded(self) -> bool:
        """True if all records are one window, so that no time is needed."""
        return self.seconds is None and self.start is None and self.end is None

    def of(self, times: Floats | Epochs) -> Epochs:
        """Return the start of each time's window in epoch seconds.

        It is `NO_WINDOW` outside the time range, and 0 where all records are one window.
        """
        size = self.seconds
        found: NDArray[Any] = np.zeros(len(times), dtype=np.int64)
        if size is not None:
            found = np.floor_divide(times, size).astype(np.int64) * size
        if self.start is not None:
            found = np.where(times >= self.start, found, NO_WINDOW)
        if self.end is not None:
            found = np.where(times < self.end, found, NO_WINDOW)
        return found

    def of_one(self, time: float) -> int:
        """Return the start of one time's window, as `of` does."""
        if (self.start is not None and time < self.start) or (self.end is not None and time >= self.end):
            return NO_WINDOW
        return int(time // self.seconds) * self.seconds if self.seconds is not None else 0
