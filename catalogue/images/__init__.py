"""The image policy: bytes of an image file to RGB pixels, or an error with one of a closed list of reasons."""
