"""The one kind of error that is the user's to mend."""


class InputError(ValueError):
    """Bad input: the message is one line that says what was expected, found and to do.

    Commands print it and exit 2, so it is raised before anything is made or overwritten.
    """
