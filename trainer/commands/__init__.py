"""The commands of ``python -m trainer``."""
