"""Watchers of a run: each is a function that runs until cancelled.

config     the files of a run, by content
content    the known content of those files
events     hints from the operating system that files changed
expiry     the remaining lifetime of the certificates
"""
