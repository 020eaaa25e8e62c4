"""The one kind of error that is the user's to mend."""


class InputError(Exception):
    """Bad input: the message is one line that says what was expected, what was found, what to do.

    Commands print it and exit 2, so it is raised before anything is made or overwritten. It is no
    ValueError, so that nothing which handles those takes it for its own.
    """
