"""Where the trust bundle is kept: one file per kind of store, and below them what they are made of.

files           three files on disk
exchange        three files read and replaced as one
record          what an unfinished exchange means; pure
disk            single file operations
configuration   the configuration file of standalone mode; read only
"""
