"""A study's runs: planned, trained side by side, how far they are, and what they came to."""
