"""The one kind of error that is the caller's to mend."""


class UserError(ValueError):
    """Input that vfield cannot work with: says what was wrong, with the value, and what to do.

    The command line prints the message as one line and exits with code 2; a library caller sees a ValueError.
    """
