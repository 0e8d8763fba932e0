"""The image policy: decodes image files to RGB pixels, or raises an error with one of a closed list of reasons."""
