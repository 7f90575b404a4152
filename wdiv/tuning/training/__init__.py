"""One run (``run.py``): its recipe, the loop that takes the gradient steps (``loop.py``), what it will cost."""
