"""One run: its recipe, the loop that takes the steps, and what it will cost."""
