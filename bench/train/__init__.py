"""Fitting networks: one loop for every defense."""
