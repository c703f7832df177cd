"""What rounding can have done, and the truth without it.

It may import ``lines`` and below. It hands on ``error_bounds.Certainty``, the bounds that a walk carries along;
``equal_by_construction`` and ``maximum_bounds``, what they know of equal numbers and of maxima; ``whole_forms``,
the same of networks whose numbers are exact forms of the input; ``double_double``,
twice the working precision; ``judge``, which proves or leaves open what a walk claims; ``rational``, the truth; and
``stages``, the names of what can prove a line.
"""
