"""Search spaces made of a network that somebody brings: traced, followed, cut into parts, sliced."""
