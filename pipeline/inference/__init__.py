"""Inference engines, and the RunInference handler for a model directory."""
