"""Reading images ahead, and decoding them."""
