"""Where credentials and configuration are kept, and below each store what it is made of.

In standalone mode, in files:
    files                  the trust bundle
    exchange               its three files read and replaced as one
    record                 what an unfinished exchange means; pure
    jwt_files              JWT signing key and key set
    disk                   single file operations
    configuration          the configuration file; read only

In Kubernetes mode, in objects:
    secret                 the trust bundle in the Secret, its anchors in the ConfigMap
    jwt_secret             JWT signing key and key set, beside it
    secret_content         what both objects hold; pure
    secret_object          one of them, read and written
    secret_guard           keeps the ConfigMap in step while both are watched
    configuration_object   the Configuration; read only

Of either, for those who only look:
    public                 the public parts of a trust bundle, read without its key
"""
