"""Inference engines, and Beam's RunInference over a model directory."""
