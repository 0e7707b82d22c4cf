"""An adversarial-robustness benchmark for defenses, and for those who must believe their numbers."""

__version__ = "0.1.0"
