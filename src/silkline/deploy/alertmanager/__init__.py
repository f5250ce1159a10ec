"""The target `alertmanager`: who gets which alert."""
