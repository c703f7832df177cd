"""How far the class of a point holds along a line.

It may import ``walking`` and below. It hands on ``interval.exact_interval``, ``sampling.sampled_interval``, the
certificates, and ``rational``, which people reach as ``relu_regions.rational``.
"""
