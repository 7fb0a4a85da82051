"""`tgp chat`: talks with a model, line by line."""

from collections.abc import Iterator
from typing import Any

from tgp_multimodal.user_text import input_lines

_COMMANDS = {
    "/help": "show this",
    "/system TEXT": "begin anew with these instructions; without a text, show those there are",
    "/reset": "begin anew",
    "/quit": "leave, as does Ctrl-D",
}


def chat(
    folder: str,
    system: str | None = None,
    max_tokens: int = 256,
    temperature: float = 0.7,
    top_p: float = 0.95,
    seed: int = 0,
    stop: list[str] | None = None,
    top_k: int = 0,
    repetition_penalty: float = 1.0,
    compile: bool = False,
) -> None:
    """Chat with a model that was trained on conversations.

    Each line is a message. The model sees the whole conversation until its context is full; then
    the oldest turns are dropped. Lines from a pipe are the user turns of one conversation. Ctrl-C
    stops an answer; pressed twice in a row at the prompt, it quits. /help lists the commands; begin
    with // to send a message that starts with /.

    Args:
        folder: export folder of the model.
        system: system prompt: instructions put before the conversation.
        max_tokens: most new tokens per answer; the rest of the context holds the conversation.
        temperature: 0 takes the most probable token; higher is more varied.
        top_p: nucleus sampling: draw from the most probable tokens that sum to this probability.
        seed: random seed; answer n is sampled with seed + n, counted from 0.
        stop: end an answer before the first of these strings; give it after the folder.
        top_k: draw from the k most probable tokens; 0 for all.
        repetition_penalty: above 1, tokens that occurred become less probable; 1 for none.
        compile: compile the decoding step first, as `tgp serve --compile` does.

    Examples:
        tgp chat runs/chat/export
        tgp chat runs/chat/export --system "Answer in one sentence." --temperature 0
        cat questions.txt | tgp chat runs/chat/export --max_tokens 60
    """
    import sys

    import tgp_multimodal
    from tgp_multimodal.inference.sampling import Sampling, check
    from tgp_multimodal.inference.writing import room_for_prompt

    sampling = Sampling(
        max_tokens, temperature, top_p, tuple(stop or ()), seed, top_k, repetition_penalty
    )
    check(sampling)
    model = tgp_multimodal.load(folder)
    if model.tokenizer.chat_template is None:
        raise ValueError(
            "model must have been taught to answer (configs/chat.yaml). "
            f"Got {folder} without a chat template instead."
        )
    room_for_prompt(model.network.text, max_tokens)
    if compile:
        print("compiling the steps of writing (up to a minute the first time)", file=sys.stderr)
        model.compile()
    talk = _Talk(model, sampling, system, is_terminal=sys.stdin.isatty())
    for line in _lines(talk.is_terminal):
        if line == "/quit":
            return
        if line.startswith("/") and not line.startswith("//"):
            talk.command(line)
        elif line:
            talk.say(line.removeprefix("/") if line.startswith("//") else line)


class _Talk:
    """A conversation with its history."""

    def __init__(self, model: Any, sampling: Any, system: str | None, is_terminal: bool) -> None:
        self.model, self.sampling, self.is_terminal = model, sampling, is_terminal
        self.begin(system)

    def begin(self, system: str | None) -> None:
        """Forgets all that was said."""
        self.system = system
        self.messages: list[Any] = [] if system is None else [{"role": "system", "content": system}]

    def say(self, text: str) -> None:
        """Prints the answer to a message, and remembers both."""
        from tgp_multimodal.inference.chat import prompt

        asked = [*self.messages, {"role": "user", "content": text}]
        network, tokenizer = self.model.network.text, self.model.tokenizer
        try:
            found = prompt(network, tokenizer, asked, self.sampling.max_tokens)
        except ValueError as error:
            if not self.is_terminal:
                raise
            _tell(str(error))
            return
        if found.dropped:
            _tell(f"(the context is full; the oldest {found.dropped} messages are forgotten)")
        # A message that Ctrl-C left without an answer was not said.
        written = self._written(found.messages)
        if written is not None:
            self.messages = [*found.messages, {"role": "assistant", "content": written}]

    def _written(self, asked: list[Any]) -> str | None:
        """The answer, printed as it comes; None where Ctrl-C came before it."""
        pieces: list[str] = []
        try:
            for piece in self.model.stream_chat(asked, self.sampling):
                pieces.append(piece)
                print(piece, end="", flush=True)
        except KeyboardInterrupt:
            if not self.is_terminal:
                raise
            if not pieces:
                print()
                return None
        print()
        self.sampling = self.sampling._replace(seed=self.sampling.seed + 1)
        return "".join(pieces)

    def command(self, line: str) -> None:
        """Does what a line that starts with a slash says."""
        name, _, text = line.partition(" ")
        if name == "/reset":
            self.begin(self.system)
        elif name == "/system" and text.strip():
            self.begin(text.strip())
        elif name == "/system":
            _tell(self.system or "no instructions")
        elif name == "/help":
            width = max(map(len, _COMMANDS))
            _tell("\n".join(f"{name:<{width}}  {what}" for name, what in _COMMANDS.items()))
        else:
            listed = ", ".join(name.partition(" ")[0] for name in _COMMANDS)
            error = f"command must be one of {listed}, or // begin a message. Got {name} instead."
            if not self.is_terminal:
                raise ValueError(error)  # the answers behind would be to other lines
            _tell(error)


def _lines(is_terminal: bool) -> Iterator[str]:
    """What is typed, or comes through a pipe, to its end, without the white space around it."""
    from contextlib import suppress
    from importlib import import_module

    if not is_terminal:
        yield from (line.strip() for line in input_lines())
        return
    with suppress(ImportError):  # some builds of Python lack it
        import_module("readline")  # gives `input` arrow keys and a history
    is_leaving = False
    while True:
        try:
            line = input("> ").strip()
        except (EOFError, KeyboardInterrupt) as end:
            print()
            if is_leaving or isinstance(end, EOFError):
                return
            is_leaving = True
            _tell("(once more leaves, as do Ctrl-D and /quit)")
        else:
            is_leaving = False
            yield line


def _tell(text: str) -> None:
    """Says what is no part of the conversation."""
    import sys

    print(text, file=sys.stderr)
