"""JSON Web Tokens and the keys that verify them, read in bounds; knows nothing of Sentry, nor of who is asked for keys.

compact.py   tokens of three parts, and what their parts say
keys.py      sets of keys, and signatures checked by them
"""
