"""Labeled photos: finding, checking, reading and splitting them."""
