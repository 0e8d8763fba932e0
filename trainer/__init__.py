"""Train image classifiers on labeled photos: transfer learning with TensorFlow and Keras."""
