"""Networks: backbones, heads, and how they are cut into a frozen and a trainable part."""
