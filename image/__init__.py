"""Makes the container image's file system: an interpreter, the packages of the lock file, and nothing else.

    python -m image packages DIRECTORY          what requirements.txt names, by pip, hashes required
    python -m image tree PACKAGES DIRECTORY     the tree: these, this project, and the interpreter that runs this

The Dockerfile does no more than to call them in a stage and to copy the tree into an empty one; so the same tree is
built and tested without a container engine. It is made for the machine and the Python that make it, whose C
library has to be glibc.

Same inputs, same tree: owners, modes and times are set (to SOURCE_DATE_EPOCH, or 0), and bytecode does not depend on
where it was compiled.

    errors.py       what keeps it from being made
    packages.py     pip, and what of a package is of no use in an image
    interpreter.py  the interpreter and its standard library
    libraries.py    the shared libraries that both need
    bytecode.py     compiled once, never written again
    system.py       the few files of an operating system that are asked for
    tree.py         all of that together
    entry.py        what becomes /sentry; not imported here
"""
