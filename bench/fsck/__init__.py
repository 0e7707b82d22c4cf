"""What `bench fsck` looks at in a store: every digest, cell, record, weights file and leftover."""
