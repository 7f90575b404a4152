"""Fine-tuning: what is trained, on what, how. Files lie in the folders below, each with a law of its own."""
