"""What is told in one line, besides what the store has to say."""

from selfrepair.errors import OneLineError


class InputError(OneLineError, ValueError):
    """A user's mistake: the message says what is wrong and what to do."""
