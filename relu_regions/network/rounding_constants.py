"""Constants of the rounding bounds that ``exactness.error_bounds`` proves.

They are in halves of the distance of 1 from the next float.
The fused loops of the backends compute the same bounds with them, row by row.
"""

from __future__ import annotations

__all__ = ["APART", "CROSSING", "NEW_ROW", "PER_BEND", "PER_INTERVAL", "VALUE"]

# Of the size of what it is made of: a value that is put on a line or on a knot, or whose distance from a knot is taken.
VALUE = 8
# The same of one that lies between two rows, bounds and all.
NEW_ROW = 32
# Of an interval: where a crossing's weights put it.
CROSSING = 16
# Of all that a product goes on with along an interval: for each of its bends, and for the interval itself.
PER_BEND, PER_INTERVAL = 6, 48
# Two crossings are in their order if they are so many times as far apart as both bounds together allow for.
APART = 1.5
