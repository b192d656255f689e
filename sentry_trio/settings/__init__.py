"""Settings: the command line, the environment and the configuration document, parsed and checked.

Nothing here does IO: arguments, environment and text come in, frozen values come out.

    values                       Go's syntax of numbers, booleans, durations and lists
    flags                        flags as fields of a record: their declaration, parser and checks
    checks                       checks of single values: ports, hosts, networks, amounts
    options                      Options: the table of flags of the certificate authority
    command_line                 parser of its command line, and checks of flags that belong together
    substitution documents       environment variables in a text; YAML as a tree of nodes
    sections                     typed reading of that tree, with the path of each field in the errors
    token_validators             the validator `jwks` and its options
    configuration                Configuration, JwksOptions
    configuration_document       parser of a configuration document, the only part that needs PyYAML
"""
