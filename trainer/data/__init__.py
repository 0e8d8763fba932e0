"""Labelled photos: find, check, read and split them."""
