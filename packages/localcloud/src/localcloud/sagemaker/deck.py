"""Chance that keeps its promise: each draw is random, and no run of draws has more than its share of hits."""

from __future__ import annotations

import random
import threading
from fractions import Fraction

_BLOCK = 20


class Deck:
    """Draws that hit with a probability of `share`, exactly so over each block of twenty.

    A coin would give a canary of 10 % a third of some twenty requests now and then, and a test could never say that a
    canary had no more than its share.
    """

    def __init__(self, share: Fraction) -> None:
        self.share = share
        self._cards: list[bool] = []
        self._owed = Fraction(0)
        self._lock = threading.Lock()

    def draw(self) -> bool:
        with self._lock:
            if not self._cards:
                self._owed += self.share * _BLOCK
                hits = int(self._owed)
                self._owed -= hits
                self._cards = [True] * hits + [False] * (_BLOCK - hits)
                random.shuffle(self._cards)
            return self._cards.pop()
