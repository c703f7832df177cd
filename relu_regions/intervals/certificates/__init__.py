"""Proofs of intervals that another program can check.

``check`` may import exact coefficients and arithmetic alone, no walk; ``certify`` may import the intervals. They hand
on ``certificate.Certificate``, ``certify.certify`` and ``check.check``.
"""
