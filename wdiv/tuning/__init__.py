"""Fine-tuning: models, starting weights, data, strategies, the loop.

LAW: this room imports :mod:`wdiv.store` and :mod:`wdiv.layers` of wdiv.
"""
