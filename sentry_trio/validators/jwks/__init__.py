"""Authenticates callers by tokens that a key of a configured set has signed.

validator.py   checks a request and its token
keyset.py      the set, kept up to date
sources.py     its source: a URL, a file, or the configuration itself
fetching.py    key sets over HTTP
"""
