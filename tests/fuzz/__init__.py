"""Fuzzing of every parser of bytes from clients or operators; see `make fuzz`."""
