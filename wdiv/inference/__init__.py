"""A trained network in use: which one, what it makes of new images, how good it is on them, and files for others."""
