"""Labelled photos to a model directory: transfer learning with TensorFlow and Keras."""
