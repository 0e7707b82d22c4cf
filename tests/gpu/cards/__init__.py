"""What tests of cards share, pretend or not: see `everything`."""
