"""What is watched while a run lasts: each is a function that runs until cancelled.

config     the files that a run was made from, by content
content    what is known of those files
events     hints from the operating system that files changed
expiry     how long the certificates still last
"""
