"""How far layers' outputs have moved on a few images, without a forward pass a checkpoint: inputs captured once.

A layer's output is linear in its own parameters, so a difference of outputs is a quadratic form of a difference of
parameters: what is kept of a layer's inputs is the form (``moments.py``), and the network runs once for each state that
runs start from (``capture.py``), on images that are the same for all of them (``sample.py``).
"""

from wdiv.outputs.change import changes, output_change
from wdiv.outputs.sample import COUNT, Images
from wdiv.outputs.starts import Starts

__all__ = ["COUNT", "Images", "Starts", "changes", "output_change"]
