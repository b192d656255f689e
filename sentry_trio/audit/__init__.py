"""What was decided of every request for a certificate, in lines that are chained by their hashes.

case.py     what is known of one call, and the line that it becomes
moments.py  moments as lines tell them
chain.py    lines that carry the hash of the one before; pure
batch.py    lines for one write, and what of them is in the file when it was cut short; pure
verify.py   finds what was altered, taken out, put in or moved; pure
tail.py     where the chain of a file ends
sinks.py    where lines go: a file, standard output
log.py      the audit log of a process: queue, writer, losses

The log outlives the runs: one that drains and its successor write to one chain.
"""
