"""Transfer matrices: images made on each of several networks, shown to all of them."""
