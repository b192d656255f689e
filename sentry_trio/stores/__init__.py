"""Stores: where credentials and configuration are kept.

    part_store             interface of the two backends below, and the names that they share

In standalone mode, files:
    directory              backend: a file per part
    file_transaction       replaces any number of files as one
    journal                decides how an unfinished transaction ends; pure
    atomic_files           single file operations
    passphrase             reads a passphrase
    permissions            warns of private keys and passphrases that every user can read

In Kubernetes mode, objects:
    secret                 backend: a key of the Secret per part; the ConfigMap publishes some of them
    secret_content         content of both objects; pure
    secret_object          reads and writes one of them
    secret_watch           reports changes of the Secret, and repairs the ConfigMap
    configuration_object   the Configuration; read only
"""
