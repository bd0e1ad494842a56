"""The one exception a user is meant to read."""


class UserError(ValueError):
    """Something the user can put right: a key, a value, a file or a row.

    The message is one sentence that names it and says the way out. `run.py` prints it
    without a traceback and exits with 1; anything else that escapes is our bug and keeps
    its traceback.
    """
