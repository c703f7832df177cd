"""walk(): from lines to paths.

It may import ``paths``, ``exactness`` and below. It hands on ``walker.walk``; ``sweep.Sweep``, which the intervals use
too, with ``windows`` and ``record``; ``settle``, which takes what is in doubt to rational arithmetic; ``splicing``; and
``attribution``.
"""
