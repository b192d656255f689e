"""Tests against Dapr's own programs: the released version decides."""
