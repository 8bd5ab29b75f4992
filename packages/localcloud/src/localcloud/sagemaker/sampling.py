"""Random sampling with an exact rate over each block of draws (permuted block randomisation)."""

from __future__ import annotations

import random
import threading
from fractions import Fraction

_BLOCK = 20


class BlockSampler:
    """Sampler that returns True with probability `share`, and exactly that often in each block of 20 draws.

    Independent draws would sometimes give a 10 % canary a third of 20 requests. Blocks bound the canary's traffic, so
    tests can assert it.
    """

    def __init__(self, share: Fraction) -> None:
        self.share = share
        self._block: list[bool] = []
        self._remainder = Fraction(0)  # the fraction of a hit that earlier blocks could not give
        self._lock = threading.Lock()

    def draw(self) -> bool:
        """Return the next sample."""
        with self._lock:
            if not self._block:
                self._remainder += self.share * _BLOCK
                hits = int(self._remainder)
                self._remainder -= hits
                self._block = [True] * hits + [False] * (_BLOCK - hits)
                random.shuffle(self._block)
            return self._block.pop()
