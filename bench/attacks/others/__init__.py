"""Other people's attacks, as attacks of this harness."""
