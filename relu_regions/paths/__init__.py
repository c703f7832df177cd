"""What lies along segments: the regions that they cross, in order.

It may import ``regions`` and below. It hands on ``paths.Paths`` with ``Path`` and ``Region``,
``region_table.RegionTable`` beneath them, norms and keys of patterns along segments, the graph of regions, and
``change``, equation 10; ``bounds`` is what people reach as ``relu_regions.bounds``.
"""
