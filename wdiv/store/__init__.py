"""Checkpoints on disk: ``writer.py`` writes one, a file an epoch, ``engine.py`` opens a store, ``foreign.py`` others'.

LAW: this room imports :mod:`wdiv.layers` and :mod:`wdiv.numerics` of wdiv. torch is imported only inside functions
that touch a ``.pt``/``.pth`` file or a live module: a store opens without it.
"""
