"""JSON Web Tokens and the keys that verify them, read within limits; independent of Sentry and of the source of keys.

compact.py   tokens of three parts, and their contents
keys.py      sets of keys, and signatures checked by them
"""
