"""Audit log: one line of JSON for every decision on a certificate request, chained by hashes.

decision.py  a decision, and the members of its line
chain.py     the format: chained lines, and batches whose write was cut short; pure
sinks.py     the file or standard output that lines are appended to, and the end of its chain
writer.py    writes batches and reports lines that could not be written
log.py       the queue between decisions and writer
verify.py    finds altered, removed, inserted and moved lines; pure

The log outlives the runs: one that drains and its successor write to one chain.
"""
