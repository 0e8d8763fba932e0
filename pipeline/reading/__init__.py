"""Read images ahead, and decode them."""
