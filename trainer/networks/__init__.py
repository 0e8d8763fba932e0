"""Backbones and heads of classifiers, and the split of a network into a frozen and a trainable part."""
