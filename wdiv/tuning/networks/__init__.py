"""Networks by name, their heads, and where their starting weights come from."""
