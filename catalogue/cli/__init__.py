"""Command-line helpers: errors of one line, argument types, progress, logging."""
