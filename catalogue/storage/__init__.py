"""Files and objects: local paths, object stores and the web."""
