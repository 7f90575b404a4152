"""What trains, at what rate and when (``strategies.py``); what does not stays, BatchNorm too (``freeze.py``)."""
