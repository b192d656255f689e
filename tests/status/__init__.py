"""Tests of what people are shown of a running authority."""
