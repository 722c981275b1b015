"""The run directory, the contract between training and everything after it.

layout (where things lie), store (checkpoints that are whole or not there), lock (one writer), record (metrics and log), plots, compare,
listing. Importing any of them imports no torch and no matplotlib.
"""
