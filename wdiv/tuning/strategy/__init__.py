"""What trains, at what rate and when (``strategies.py``); what does not, BatchNorm too, stays as it is (``freeze.py``)."""
