"""The training loop and what keeps it honest. Begin with train.py."""
