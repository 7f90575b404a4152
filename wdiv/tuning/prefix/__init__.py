"""The frozen prefix of a network and what it makes of images, kept; BatchNorm folded; features on the way."""
