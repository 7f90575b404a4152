"""Checkpoints on disk: wdiv's own, and anybody else's.

LAW: this room imports :mod:`wdiv.layers` and :mod:`wdiv.numerics` of wdiv. torch is imported only inside functions
that touch a ``.pt``/``.pth`` file or a live module: a store opens without it.
"""
