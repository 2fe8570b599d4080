# SPDX-License-Identifier: Apache-2.0
"""The closed family of errors that a user can repair: one class for each kind of repair."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FacepipeError(Exception):
    """What is, what was expected, and what to try, in one line.

    Args:
        what: "where: what is, what was expected." with the values shown.
        attempt: a command or an edit that repairs it; printed after "Try:".
    """

    def __init__(self, what: str, attempt: str | None = None) -> None:
        self.what = " ".join(what.split())
        self.attempt = " ".join(attempt.split()) if attempt else None
        super().__init__(self.what if not self.attempt else f"{self.what} Try: {self.attempt}")

    def __reduce__(self) -> tuple[type[FacepipeError], tuple[str, str | None]]:
        # Errors cross process boundaries whole: the default would pass the joined text as `what`.
        return type(self), (self.what, self.attempt)


class AssetError(FacepipeError):
    """A weight file or data set is not here: fetch it or put it there by hand."""


class WeightsError(FacepipeError):
    """A weight file is here and wrong: another network's, truncated, or not a plain state dict."""


class TensorError(FacepipeError):
    """An array has another name, dtype or shape than the model's specification."""


class ConversionError(FacepipeError):
    """A conversion step failed or moved the outputs: the step is named."""


class BackendError(FacepipeError):
    """A back end is unavailable or failed: install it, or name another."""


class StageError(FacepipeError):
    """A run's folder does not fit what is asked of it: other parameters, a missing stage, a foreign file."""


class UnsealedError(FacepipeError):
    """Everything is done but photographs that end the process that looks at them: the results say so."""


class DataError(FacepipeError):
    """A data file or photograph has the wrong form or content."""


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line; its class where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that is most like a name that is none of them, for a "did you mean"; None where none is like it.

    A name that was cut short stands for the first that begins so.

    Example:
        >>> nearest("mtcn", ["mtcnn", "blazeface.front"]), nearest("blaze", ["mtcnn", "blazeface.front"])
        ('mtcnn', 'blazeface.front')
    """
    by_letters = {choice.lower(): choice for choice in choices}
    begun = [letters for letters in by_letters if len(name) > 2 and letters.startswith(name.lower())]
    near = begun or difflib.get_close_matches(name.lower(), by_letters, n=1)
    return by_letters[near[0]] if near else None


def did_you_mean(name: str, choices: Iterable[str]) -> str | None:
    """`nearest` as an attempt for an error."""
    near = nearest(name, choices)
    return f"did you mean '{near}'?" if near else None
