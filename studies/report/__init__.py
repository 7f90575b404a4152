"""What a study found: observations, verdicts on its claims, tables, figures, pages."""
