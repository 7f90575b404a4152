"""The frozen prefix of a network and what it makes of images, kept; features on the way."""
