"""Curves: accuracy over the radius, the steps, the restarts and the queries of an attack."""
