"""Commands that documents show: where they stand, and a folder in which they can be run."""
