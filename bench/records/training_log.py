"""The file log.csv of a training: which of its columns are no loss terms."""

from __future__ import annotations

LOG_COLUMNS = (
    "stage",
    "epoch",
    "lr",
    "loss",
    "clean_accuracy",
    "robust_accuracy",
    "images_per_second",
    "seconds",
)
"""In their order; terms stand between the third and the fourth."""
