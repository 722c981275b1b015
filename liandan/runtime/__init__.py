"""Recipe or run directory -> parts on a device."""
