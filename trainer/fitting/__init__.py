"""Training: frozen features, augmentation, batches, the training loop, checkpoints and devices."""
