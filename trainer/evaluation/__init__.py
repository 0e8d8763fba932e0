"""Evaluation: metrics, inference on labelled photos, and the report."""
