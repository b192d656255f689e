"""Cost of the certificate authority, compared with others.

bench.py        `make bench`: the command line and the rounds
contenders/     who is measured; each server a program of its own
processes.py    starts them
measure.py      one pass of load, and what the system says of a process
startup.py      from exec to healthy
profiling.py    where the time of a call goes
sampler.py      runs a program and samples it
machine.py      where it is measured, and what with
findings.py     what was found, as it is written to disk
report.py       the same as tables
plot.py         the same as a picture
soak.py         `make soak`: a thousand restarts under load
"""
