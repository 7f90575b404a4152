"""What fine-tuning has to beat: scikit-learn estimators on the features of a frozen network (``trials.py``).

LAW: this room imports :mod:`wdiv.tuning` and what lies below it; nothing in wdiv imports it.
"""
