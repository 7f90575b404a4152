"""Images: decoded once, split, prepared, augmented; data sets by name and by folder."""
