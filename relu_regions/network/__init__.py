"""What is analysed: a network as affine steps and gates over named values, and how it is read.

It imports no other room. It hands on ``network.Network`` with its doors and ``read``; ``step_graph.StepGraph``,
``steps`` and ``gates`` for what works on a network; and ``plan``, how a walk takes it: folded, chained, with the gains
of its steps.
"""
