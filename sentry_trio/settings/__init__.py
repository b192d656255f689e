"""What an operator wrote, read and checked: the command line, the environment and the configuration document.

Nothing here does IO: arguments, environment and text come in, frozen values come out.

    scalars durations lists      Go's syntax of numbers, booleans, durations and lists, with Go's error words
    flags                        a parser of GNU-style flags, as pflag does it; knows no flag of its own
    flag_table                   the flags of this program
    option_rules addresses       what the values of flags may be
    options                      the outcome: Options
    substitution documents       environment variables in a text; YAML as a tree of nodes
    sections                     typed reading of that tree, with the path of each field in the errors
    token_validators             the validators that a configuration asks for
    jwks                         what the options of the one named so say
    configuration                the outcome: Configuration
"""
