"""Vouches for callers by tokens that a key of a configured set has signed.

validator.py   checks a request and its token
claims.py      what a token has to say
keyset.py      the set, kept up to date
sources.py     where it is from: a URL, a file, or the configuration itself
fetching.py    one GET, in bounds
freshness.py   how long an answer of HTTP is fresh
"""
