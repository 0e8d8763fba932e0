"""Command-line helpers: one-line errors, argument types, progress and logging."""
