"""Figures: of a study, drawn from its observations; and of a measured store."""
