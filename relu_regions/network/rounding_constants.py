"""Constants of the rounding bounds that ``exactness.error_bounds`` proves; the backends' loops use them too.

They are multiples of half the distance of 1 from the next float.
"""

from __future__ import annotations

__all__ = ["APART", "CROSSING", "NEW_ROW", "PER_BEND", "PER_INTERVAL", "VALUE"]

# For a value that is put on a line or on a knot, or whose distance from a knot is taken: times the size of its parts.
VALUE = 8
# The same for a new row between two rows, its bounds included.
NEW_ROW = 32
# For the place that a crossing's weights give it: times the interval.
CROSSING = 16
# For a product that goes on along an interval: for each of its bends, and for the interval itself.
PER_BEND, PER_INTERVAL = 6, 48
# Two crossings are in order if their distance is more than so many times the sum of their bounds.
APART = 1.5
