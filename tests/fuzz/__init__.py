"""Fuzzing of every parser that reads bytes which strangers or operators choose; see `make fuzz`."""
