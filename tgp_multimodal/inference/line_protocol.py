"""Requests as JSON lines, for editors: the model stays open, and no mistake ends the conversation.

A request is an object with `prefix`, and if wanted `suffix`, `n`, `id` and any setting of `fill`;
its answer has the same `id` and either `texts` or `error`. Lines of texts end as those of the
request do.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tgp_multimodal.inference.code_blocks import enclosing_block
from tgp_multimodal.inference.gaps import end_of_lines, unix, with_ends
from tgp_multimodal.inference.model import Model
from tgp_multimodal.inference.sampling import Sampling, as_stop_strings
from tgp_multimodal.names import unknown

_SAMPLES = 256  # of one request: others wait meanwhile
# Each key of a request with the type of its value; a number may be written without a point.
_KEYS: dict[str, tuple[type, ...]] = {
    "id": (str, int, float, type(None)),
    "prefix": (str,),
    "suffix": (str, type(None)),
    "n": (int,),
    "max_tokens": (int,),
    "temperature": (int, float),
    "top_p": (int, float),
    "seed": (int,),
    "stop": (list, str),
    "top_k": (int,),
    "repetition_penalty": (int, float),
    "stop_at_dedent": (bool,),
}


def answers(
    model: Model, lines: Iterable[str], sampling: Sampling, stop_at_dedent: bool, n: int = 1
) -> Iterator[str]:
    """One JSON line for each line that is not blank, as soon as it is answered.

    Args:
        model: what fills.
        lines: the requests.
        sampling: the settings of a request that does not say otherwise.
        stop_at_dedent: the same, for ending with the function.
        n: the same, for how many samples.
    """
    for line in filter(str.strip, lines):
        name = None
        try:
            request = _parsed(line)
            name = request.get("id")
            texts = _texts(model, request, sampling, stop_at_dedent, n)
            answer: dict[str, Any] = {"id": name, "texts": texts}
        except Exception as error:  # the next request is none the worse
            answer = {"id": name, "error": str(error) or type(error).__name__}
        yield json.dumps(answer)  # in ASCII: half of a character has no other spelling


def _parsed(line: str) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except ValueError as error:
        raise ValueError(f"request must be one line of JSON. Got {error} instead.") from None
    if not isinstance(request, dict):
        raise ValueError(f"request must be an object. Got {type(request).__name__} instead.")
    return request


def _texts(
    model: Model, request: dict[str, Any], sampling: Sampling, stop_at_dedent: bool, n: int
) -> list[str]:
    _check(request)
    given = {name: value for name, value in request.items() if name in Sampling._fields}
    if "stop" in given:
        given["stop"] = tuple(map(unix, as_stop_strings(given["stop"])))
    end = end_of_lines(request["prefix"] + (request.get("suffix") or ""))
    prefix = unix(request["prefix"])
    suffix = None if request.get("suffix") is None else unix(request["suffix"])
    ends = request.get("stop_at_dedent", stop_at_dedent)
    own = sampling._replace(**given, block=enclosing_block(prefix) if ends else None)
    return [with_ends(t, end) for t in model.samples(prefix, suffix, request.get("n", n), own)]


def _check(request: dict[str, Any]) -> None:
    if strange := sorted(request.keys() - _KEYS.keys()):
        raise ValueError(unknown("key", strange[0], _KEYS))
    if "prefix" not in request:
        raise ValueError("prefix must be given. Got nothing instead.")
    for name, value in request.items():
        is_flag = isinstance(value, bool) and bool not in _KEYS[name]
        if is_flag or not isinstance(value, _KEYS[name]):
            kinds = " or ".join("null" if t is type(None) else t.__name__ for t in _KEYS[name])
            raise ValueError(f"{name} must be {kinds}. Got {value!r} instead.")
    if request.get("n", 1) > _SAMPLES:
        raise ValueError(f"n must be at most {_SAMPLES}. Got {request['n']} instead.")
    stop = request.get("stop", [])
    if not all(isinstance(one, str) for one in stop):
        raise ValueError(f"stop must hold strings. Got {stop!r} instead.")
