"""Detection: detectors before a defense, attacks that they never saw, and an attacker who knows them."""
