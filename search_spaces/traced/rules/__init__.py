"""How operators are followed: which of the indices they give stay or go with which of those they take."""
