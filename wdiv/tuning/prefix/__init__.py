"""The frozen prefix of a network, what it makes of images, kept; and features on the way."""
