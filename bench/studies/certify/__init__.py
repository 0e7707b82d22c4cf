"""Certificates: what is proven from below and what attacks leave from above, example by example."""
