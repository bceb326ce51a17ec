"""What is told in one line, besides what the store has to say."""

from selfrepair.errors import OneLineError


class InputError(OneLineError, ValueError):
    """A user's mistake: the message says what is wrong and what to do."""


class EngineMismatchError(OneLineError):
    """The engine's clean logits differ from the model's: nothing must be measured with it.

    It is the project's to put right and no `InputError`. Whoever ran the model needs the line and
    no traceback all the same, and the command exits with the same code 2: nothing was measured.
    """
