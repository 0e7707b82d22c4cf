"""What draws diagnostics, a module for each way of looking."""
