"""Networks: backbones and heads, and cutting into a frozen and a trainable part."""
