"""Run directory -> prediction. Reads the run directory and nothing of the engine."""
