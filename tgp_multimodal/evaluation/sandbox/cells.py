"""What runs inside: in one cell the program, in another its tests, which call it by messages.

The tests never share a process with the program. The program sees the arguments of each call and
nothing else: not what is expected, not the text of the tests, not the verdict. Whatever it does to
its own process - patch, exit, lie - it can only change what it answers.
"""

import os
import random
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

from tgp_multimodal.evaluation.sandbox import plain

_NAME = "program"  # of the module that the code is; not __main__, whose blocks are not wanted


class Name(NamedTuple):
    """Stands, among the tests, for what a variable of the program holds.

    Attributes:
        name: of the variable.
    """

    name: str


class ProgramError(Exception):
    """The program gave no plain value: it raised, ended, or returned what is none."""


def run_program(job: int, calls: int, answers: int) -> None:
    """Runs a program and answers calls of its functions until nobody asks any more.

    Args:
        job: descriptor of a file with the job, {"program": text, "setup": text}.
        calls: descriptor to read (function, arguments, keyword arguments) from.
        answers: descriptor to write ("value", value) or ("failed", sentence) to; the first, with
            no value, says that the program is loaded.
    """
    code, module = _job(job), _module()
    try:
        _execute(code["program"], module)
        _execute(code["setup"], module)
        plain.send(answers, ("value", None))
        while True:
            name, arguments, keywords = plain.receive(calls)
            given = [_resolved(a, module) for a in arguments]
            words = {k: _resolved(a, module) for k, a in keywords.items()}
            _reply(answers, module, name, given, words)
    except BaseException as error:
        with suppress(OSError):  # nobody asks any more
            plain.send(answers, ("failed", _sentence(error)))


def _reply(answers: int, module: types.ModuleType, name: str, arguments: Any, words: Any) -> None:
    try:
        value = plain.encode(("value", getattr(module, name)(*arguments, **words)))
    except Exception as error:
        value = plain.encode(("failed", _sentence(error)))
    plain.write(answers, value)


def _tagged(argument: Any) -> tuple[str, Any]:
    return ("name", argument.name) if isinstance(argument, Name) else ("value", argument)


def _resolved(said: tuple[str, Any], module: types.ModuleType) -> Any:
    kind, value = said
    return getattr(module, value) if kind == "name" else value


def run_tests(job: int, calls: int, answers: int) -> str:
    """Runs tests against the program in the other cell.

    Args:
        job: descriptor of a file with the job, {"tests": text, "reference": text, "function": name,
            "names": names}: `reference` is trusted code that the tests may use; `names` are
            variables of the program that stand for what they hold there.
        calls: descriptor to write to, see `run_program`.
        answers: descriptor to read from, see `run_program`.

    Returns:
        "" if the tests have passed, else a sentence.
    """
    given, module = _job(job), _module()
    link = _Link(calls, answers)
    try:
        link.take()
        _execute(given["reference"], module)
        vars(module).update({name: Name(name) for name in given["names"]})
        setattr(module, given["function"], link.function(given["function"]))
        _execute(given["tests"], module)
    except BaseException as error:
        return link.failure or _sentence(error)
    if link.failure:  # an `except` in the tests must not hide it
        return link.failure
    return "" if link.calls else "the tests never called the program"


class _Link:
    """The way from the tests to the program."""

    def __init__(self, calls: int, answers: int) -> None:
        self.out, self.back = calls, answers
        self.calls, self.failure = 0, ""

    def function(self, name: str) -> Callable[..., Any]:
        """What stands for a function of the program among the tests."""

        def candidate(*arguments: Any, **keywords: Any) -> Any:
            self.calls += 1
            words = {k: _tagged(a) for k, a in keywords.items()}
            message = (name, [*map(_tagged, arguments)], words)
            with suppress(OSError):  # it has ended; what it said last is still to be read
                plain.send(self.out, message)
            return self.take()

        return candidate

    def take(self) -> Any:
        """The value of the next answer; ProgramError where there is none."""
        try:
            kind, value = plain.receive(self.back)
        except EOFError:
            self._fail("the program ended")
        except Exception:
            self._fail("the program wrote what is no message")
        if kind != "value":
            # Said by the cell, or forged by the program, which may have put anything there.
            self._fail(f"the program: {value if isinstance(value, str) else '?':.200}")
        return value

    def _fail(self, sentence: str) -> NoReturn:
        self.failure = self.failure or sentence
        raise ProgramError(sentence)


def _job(file: int) -> Any:
    with open(file, "rb") as stream:
        return plain.decode(stream.read())


def _module() -> types.ModuleType:
    random.seed(0)
    module = types.ModuleType(_NAME)
    sys.modules[_NAME] = module  # dataclasses look for it
    return module


def _execute(text: str, module: types.ModuleType) -> None:
    exec(compile(text, f"<{_NAME}>", "exec"), vars(module))


def _sentence(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error!s:.150}".rstrip(": ")
    except BaseException:
        return "an error that cannot be read"


def clear_environment() -> None:
    """Nothing of the environment, the arguments and the path to this package is left."""
    os.environ.clear()
    sys.argv[:] = [_NAME]
