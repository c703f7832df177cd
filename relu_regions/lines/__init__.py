"""What is asked: the inputs of public functions, checked at the door; which logits compete; which lines to take.

It may import ``network`` and ``backends``. It hands on ``line_batch.LineBatch`` and ``PointBatch``,
``decision.Decision``, and the families of lines in ``directions``.
"""
