"""A zoo of defenses and attacks that are broken in a known way, and of honest ones that are not."""
