"""The image policy: how image files are decoded to RGB pixels, or rejected with one of a closed list of reasons."""
