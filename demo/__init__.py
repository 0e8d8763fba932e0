"""Pictures for ``make demo``, drawn so that no photos need to be downloaded or shipped."""
