"""From a torch module, a torch.export program, a ``.pt2`` or an ONNX file to steps, and a check of the result.

It may import the steps and the step graph, not ``Network``. It hands on ``models.read_module`` and ``read_program``,
``pt2.module_from_pt2``, ``onnx_reading.open_onnx``, ``verify.Original``, and ``limits.Limits`` for files.
"""
