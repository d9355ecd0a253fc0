"""The one family of errors that laborllm raises on a user's input."""


class LaborLLMError(Exception):
    """A problem the user can mend.

    The message is one line that names the file, the column, the row and the value, lists what is allowed
    and says what to do next. The command line prints the message alone.
    """
