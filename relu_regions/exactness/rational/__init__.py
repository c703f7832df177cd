"""Walks and intervals in integers and fractions, which share no arithmetic with the walk and so can be its judge.

It may import ``lines`` and ``network``. It hands on ``walk``, ``interval`` and ``coefficients.ExactNetwork``.
"""
