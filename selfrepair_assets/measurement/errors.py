"""The one exception for what a user can put right."""


class InputError(ValueError):
    """A user's mistake: the message, one line, says what is wrong and what to do.

    Whoever talks to the user prints the message alone, without a traceback (the command line
    then exits with code 2). Everything else that is raised is a bug of ours.
    """
