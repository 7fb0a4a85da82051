"""`tgp chat`: what it prints, what it remembers, and how it ends."""

import io
import sys

import pytest
from random_networks import language_model

from tgp_multimodal import export
from tgp_multimodal.cli import main
from tgp_multimodal.data.chat_template import TEMPLATE
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.model import Model

FEW = ["--max_tokens", "6", "--temperature", "0"]


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("chat") / "export"
    chatty = Tokenizer(tokenizer.backend, TEMPLATE)
    export.save(path, language_model(tokenizer.vocabulary), chatty, {}, "")
    return str(path)


@pytest.fixture
def asked(monkeypatch):
    """The conversations that the model is asked, which it answers by their number."""
    found: list[list[dict[str, str]]] = []

    def answer(self, messages, sampling):
        found.append(list(messages))
        yield from (f"answer {len(found)} ", f"seed {sampling.seed}")

    monkeypatch.setattr(Model, "stream_chat", answer)
    return found


def talk(monkeypatch, capsys, folder, lines, *options):
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    code = main(["chat", folder, *FEW, *options])
    out, err = capsys.readouterr()
    return code, out, err


def test_lines_of_a_pipe_are_answered_in_turn(asked, folder, monkeypatch, capsys):
    code, out, err = talk(monkeypatch, capsys, folder, ["One?", "", "Two?"], "--seed", "7")
    assert (code, err) == (0, "")
    assert out == "answer 1 seed 7\nanswer 2 seed 8\n"
    contents = [[m["content"] for m in messages] for messages in asked]
    assert contents == [["One?"], ["One?", "answer 1 seed 7", "Two?"]]
    assert [m["role"] for m in asked[1]] == ["user", "assistant", "user"]


def test_steps_are_compiled_where_asked(asked, folder, monkeypatch, capsys):
    compiled = []
    monkeypatch.setattr(Model, "compile", lambda model: compiled.append(model))
    code, out, err = talk(monkeypatch, capsys, folder, ["One?"], "--compile")
    assert (code, out, len(compiled)) == (0, "answer 1 seed 0\n", 1)
    assert err == "compiling the steps of writing (up to a minute the first time)\n"


def test_a_real_model_answers(folder, monkeypatch, capsys):
    code, out, _ = talk(monkeypatch, capsys, folder, ["One?"])
    assert code == 0
    assert out == Model(*_parts(folder)).chat(_question("One?"), 6, temperature=0) + "\n"


def _parts(folder):
    loaded = export.load(folder)
    return loaded.network, loaded.tokenizer, loaded.digest


def _question(text):
    return [{"role": "user", "content": text}]


def test_commands(asked, folder, monkeypatch, capsys):
    lines = [
        "/system", "One?", "/reset", "Two?", "/system Be brief.", "Three?", "/system",
        "/help", "/quit", "Four?",
    ]  # fmt: skip
    code, _, err = talk(monkeypatch, capsys, folder, lines, "--system", "Be kind.")
    assert code == 0
    said = [[m["content"] for m in messages] for messages in asked]
    assert said == [["Be kind.", "One?"], ["Be kind.", "Two?"], ["Be brief.", "Three?"]]
    told = err.splitlines()
    assert told[:2] == ["Be kind.", "Be brief."]
    assert [line.split()[0] for line in told[2:]] == ["/help", "/system", "/reset", "/quit"]


def test_a_message_may_begin_with_a_slash(asked, folder, monkeypatch, capsys):
    code, out, _ = talk(monkeypatch, capsys, folder, ["//etc is what?", "/etc is what?", "Two?"])
    assert code == 2  # no line is passed over, which would shift the answers
    assert [messages[-1]["content"] for messages in asked] == ["/etc is what?"]
    assert out == "answer 1 seed 0\n"
    monkeypatch.setattr(sys, "stdin", Terminal("/etc\nTwo?\n"))
    assert main(["chat", folder, *FEW]) == 0
    wanted = "command must be one of /help, /system, /reset, /quit, or // begin a message. Got /etc"
    assert wanted in capsys.readouterr().err
    assert asked[-1][-1]["content"] == "Two?"


def test_the_oldest_turns_are_forgotten_and_that_is_said(asked, folder, monkeypatch, capsys):
    lines = [f"Question number {i}?" for i in range(4)]
    _, _, err = talk(monkeypatch, capsys, folder, lines, "--system", "Be.")
    assert "(the context is full; the oldest 2 messages are forgotten)" in err
    assert asked[-1][0] == {"role": "system", "content": "Be."}
    assert asked[-1][1]["role"] == "user"
    assert asked[-1][1]["content"] != lines[0]
    assert asked[-1][-1]["content"] == lines[-1]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_a_message_that_is_too_long_costs_nothing(asked, folder, monkeypatch, capsys):
    lines = ["x" * 500, "Short?"]
    monkeypatch.setattr(sys, "stdin", Terminal("".join(f"{line}\n" for line in lines)))
    assert main(["chat", folder, *FEW]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("last message must have room in 58 tokens")
    assert out == "> > answer 1 seed 0\n> \n"
    code, _, err = talk(monkeypatch, capsys, folder, lines)
    assert code == 2
    assert err.startswith("tgp: last message must have room")


def test_ctrl_c_ends_an_answer_and_not_the_conversation(folder, monkeypatch, capsys):
    asked = []

    def answer(self, messages, sampling):
        asked.append([m["content"] for m in messages])
        yield "begun"
        if len(asked) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Model, "stream_chat", answer)
    monkeypatch.setattr(sys, "stdin", Terminal("One?\nTwo?\n"))
    assert main(["chat", folder, *FEW]) == 0
    assert asked == [["One?"], ["One?", "begun", "Two?"]]
    asked.clear()
    code, _, _ = talk(monkeypatch, capsys, folder, ["One?", "Two?"])
    assert (code, asked) == (130, [["One?"]])


def test_ctrl_c_before_an_answer_takes_the_question_back(folder, monkeypatch, capsys):
    asked = []

    def answer(self, messages, sampling):
        asked.append([m["content"] for m in messages])
        if len(asked) == 1:
            raise KeyboardInterrupt
        yield "done"

    monkeypatch.setattr(Model, "stream_chat", answer)
    monkeypatch.setattr(sys, "stdin", Terminal("One?\nTwo?\n"))
    assert main(["chat", folder, *FEW]) == 0
    assert asked == [["One?"], ["Two?"]]


def test_ctrl_c_twice_leaves(asked, folder, monkeypatch, capsys):
    typed = iter([KeyboardInterrupt, "One?", KeyboardInterrupt, KeyboardInterrupt, "Two?"])

    def read(prompt):
        if (line := next(typed)) is KeyboardInterrupt:
            raise KeyboardInterrupt
        return line

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert main(["chat", folder, *FEW]) == 0
    assert [messages[-1]["content"] for messages in asked] == ["One?"]
    assert "once more leaves" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--temperature", "-1"], "temperature must be at least 0"),
        (["--max_tokens", "900"], "max_tokens must be between 1 and 56"),
    ],
)
def test_wrong_settings(options, complaint, folder, monkeypatch, capsys):
    code, out, err = talk(monkeypatch, capsys, folder, ["One?"], *options)
    assert (code, out) == (2, "")
    assert complaint in err
    monkeypatch.setattr(sys, "stdin", Terminal("One?\n"))
    assert main(["chat", folder, *FEW, *options]) == 2
    assert complaint in capsys.readouterr().err


def test_a_model_that_was_not_taught(tokenizer, tmp_path, monkeypatch, capsys):
    export.save(tmp_path / "export", language_model(tokenizer.vocabulary), tokenizer, {}, "")
    code, _, err = talk(monkeypatch, capsys, str(tmp_path / "export"), ["One?"])
    assert code == 2
    assert err.startswith("tgp: model must have been taught to answer (configs/chat.yaml). Got ")
