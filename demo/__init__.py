"""Drawn pictures for ``make demo``, so that no photos need to be downloaded or shipped."""
