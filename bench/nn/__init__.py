"""Architectures, with normalisation inside and features in reach."""
