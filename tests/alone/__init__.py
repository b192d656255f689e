"""Tests that measure processes: `make unit` runs them when nothing else runs."""
