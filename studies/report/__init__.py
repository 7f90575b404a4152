"""What a study found: observations, verdicts on its claims (``verdicts.py``), tables, figures, pages."""
