"""What AWS's image patches in its toolkit: names that Python 3.10 took out of `collections`."""

import collections
import collections.abc

collections.Mapping = collections.abc.Mapping  # type: ignore[attr-defined]
