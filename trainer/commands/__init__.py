"""Implementations and command-line flags of the ``python -m trainer`` commands."""
