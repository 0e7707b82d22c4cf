"""Data sets as tensors: found, checked, split."""
