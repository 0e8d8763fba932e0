"""Evaluation: metrics, inference on labeled photos, and the report."""
