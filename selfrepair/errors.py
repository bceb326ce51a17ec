"""The base class of what is told to a user; here, because the measurement and the store have it."""


class OneLineError(Exception):
    """An error whose message, one line, says all: what is wrong, and what to do.

    Whoever talks to a user prints the message alone, without a traceback (the command then exits
    with code 2), and trying again cannot help. Its subclasses say whose it is to put right: the
    store's (`WarehouseError`), the user's (`InputError`), the project's (`EngineMismatchError`).
    Any other exception is a bug.
    """
