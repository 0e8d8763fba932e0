"""Pictures for ``make demo``: drawn, so that nothing needs to be downloaded and nobody's photos be shipped."""
