"""Conversations are read, stored, packed whole, and learned from in their answers alone."""

import json
from itertools import pairwise

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from raw_data import jsonl, nothing_is_left, run, words

from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.chat_template import TEMPLATE, encode
from tgp_multimodal.data.conversations import Columns, Conversation, conversations, turns
from tgp_multimodal.data.packed_chat import PackedChat, best_fit, chat_batches
from tgp_multimodal.data.pipeline import open_stream
from tgp_multimodal.data.prepare import prepare
from tgp_multimodal.data.prepare_settings import Settings
from tgp_multimodal.data.prepared_chat import ChatWriter, open_chat
from tgp_multimodal.data.quarantine import Bad
from tgp_multimodal.data.tokenizer import Tokenizer

USER, ANSWER = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}


def table(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def talk(number, stream="a", length=3):
    question = {"role": "user", "content": f"Question {number}?"}
    answer = {"role": "assistant", "content": "word " * length + str(number)}
    return Conversation((question, answer), stream, f"n{number}")


@pytest.fixture(scope="module")
def chatty(tokenizer) -> Tokenizer:
    return Tokenizer(tokenizer.backend, TEMPLATE)


@pytest.fixture(scope="module")
def folder(chatty, tmp_path_factory):
    """Twenty conversations of two streams, as `tgp prepare` would write them."""
    place = tmp_path_factory.mktemp("data") / "chat"
    with ChatWriter(place, chatty) as writer:
        for number in range(20):
            writer.add("train", talk(number, "ab"[number % 2], length=number % 5))
        writer.add("validation", talk(99))
        writer.finish([])
    return place


def test_messages_and_pairs_of_columns_are_read(tmp_path):
    rows = [{"messages": [USER, ANSWER]}, {"messages": [ANSWER]}]
    read = list(conversations(str(table(tmp_path / "talks.jsonl", rows))).read())
    assert read[0] == Conversation((USER, ANSWER), "talks", f"{tmp_path}/talks.jsonl:line 1")
    pairs = pyarrow.table({"q": ["Why? "], "a": [" So."]})
    parquet.write_table(pairs, tmp_path / "pairs.parquet")
    source = conversations(f"x={tmp_path}/pairs.parquet", Columns(prompt="q", response="a"))
    assert [(c.messages, c.stream) for c in source.read()] == [((USER, ANSWER), "x")]
    assert source.rows == 1
    nested = pyarrow.table({"messages": [[USER, ANSWER]]})
    parquet.write_table(nested, tmp_path / "nested.parquet")
    assert next(iter(conversations(f"{tmp_path}/nested.parquet").read())).messages == (USER, ANSWER)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [USER]}, "no message is the assistant's"),
        ({"messages": []}, "messages must be a list of at least one"),
        ({"messages": "hello"}, "messages must be a list. Got a str instead"),
        ({"messages": ANSWER}, "messages must be a list. Got a dict instead"),
        ({"messages": [USER, ANSWER | {"role": "bot"}]}, "must be one of system, user, assistant"),
        ({"messages": [USER, ANSWER | {"content": " "}]}, "empty text"),
        ({"messages": None}, "messages must be a list. Got a NoneType instead"),
    ],
)
def test_bad_rows_say_what_is_wrong(tmp_path, row, reason):
    good = {"messages": [USER, ANSWER]}
    read = list(conversations(str(table(tmp_path / "t.jsonl", [good, row, good]))).read())
    assert [isinstance(found, Bad) for found in read] == [False, True, False]
    assert reason in read[1].reason


def test_a_missing_column_is_an_error_with_those_there_are(tmp_path):
    path = table(tmp_path / "t.jsonl", [{"prompt": "a", "reply": "b"}])
    with pytest.raises(ValueError, match=r"response_column must be a column .* prompt, reply"):
        list(conversations(str(path)).read())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("User: Hi\nAssistant: Hello\nthere\nUser: Why?", ["user:Hi", "assistant:Hello\nthere"]),
        ("Assistant: Hello\nUser: Why?", ["assistant:Hello"]),
    ],
)
def test_a_transcript_becomes_its_turns(text, said):
    assert [f"{m['role']}:{m['content']}" for m in turns(text)] == [*said, "user:Why?"]


@pytest.mark.parametrize(
    "text",
    ["Why?", "User: Hi", "User: Hi\nAssistant: Hello", "User: a\nUser: b", "User:\nAssistant: a",
     "What does this say?\nUser: Hi\nAssistant: Hello\nUser: Why?"],
)  # fmt: skip
def test_what_is_no_transcript_that_asks_stays_one_message(text):
    assert turns(text) == [{"role": "user", "content": text}]


def test_what_is_stored_is_what_was_said_with_its_answers(folder, chatty):
    split = open_chat(folder, "train")
    assert split.streams == ("a", "b")
    for number, (begin, end) in enumerate(pairwise(split.offsets)):
        wanted = encode(chatty, talk(number, length=number % 5).messages)
        assert split.token_T[begin:end].tolist() == wanted.ids
        assert split.is_answer_T[begin:end].tolist() == wanted.is_answer
    sizes = json.loads((folder / "manifest.json").read_text())["splits"]["train"]
    assert sizes["answer_tokens"] == split.is_answer_T.sum()
    assert sizes["conversations"] == 20


@pytest.mark.parametrize("damage", ["answers", "tokens"])
def test_a_file_that_was_cut_is_refused(folder, tmp_path, damage):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    np.save(tmp_path / f"train.{damage}.npy", np.zeros(3, np.uint16))
    with pytest.raises(ValueError, match=rf"train\.{damage}\.npy must hold .* rows"):
        open_chat(tmp_path, "train")


def test_best_fit_wastes_nothing_that_it_need_not():
    size_S = np.array([5, 3, 8, 2, 7, 1, 4, 10])
    rows = best_fit(size_S, 10)
    assert sorted(i for row in rows for i in row) == list(range(8))
    assert [sum(size_S[row]) for row in map(np.array, rows)] == [10] * 4
    assert best_fit(np.full(3, 6), 10) == [[0], [1], [2]]


def test_rows_hold_conversations_whole_and_restart_their_positions(folder, chatty):
    split = open_chat(folder, "train")
    packed = PackedChat(split, "a", 90, chatty.pad, seed=3)
    seen = []
    for number in range(len(packed)):
        row = packed[number]
        is_text_L = row.token_L != chatty.pad
        assert not row.is_answer_L[~is_text_L].any()
        assert not row.position_L[~is_text_L].any()
        starts = np.flatnonzero(row.token_L == chatty.bos)
        assert (starts == np.flatnonzero((row.position_L == 0) & is_text_L)).all()
        seen += np.split(row.token_L[is_text_L], starts[1:])
    wanted = [split.token_T[a:b].tolist() for a, b in pairwise(split.offsets)][::2]
    assert sorted(part.tolist() for part in seen) == sorted(wanted)
    assert len(packed) < len(wanted)


def test_a_row_is_a_function_of_the_seed_and_its_number(folder, chatty):
    split = open_chat(folder, "train")
    first, again = (PackedChat(split, "a", 60, chatty.pad, seed=3) for _ in range(2))
    count = len(first)
    epochs = [[first[e * count + i].token_L.tobytes() for i in range(count)] for e in range(3)]
    assert epochs[1] == [again[count + i].token_L.tobytes() for i in range(count)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_long_conversation_loses_its_end_or_is_left_out(chatty, tmp_path):
    late = Conversation(({"role": "user", "content": "x y " * 40}, ANSWER), "a", "")
    with ChatWriter(tmp_path, chatty) as writer:
        brief = Conversation(({"role": "user", "content": "?"}, ANSWER), "b", "")
        for conversation in (talk(1, length=60), late, brief):
            writer.add("train", conversation)
        writer.finish([])
    split = open_chat(tmp_path, "train")
    packed = PackedChat(split, "a", 50, chatty.pad, seed=0)
    assert len(packed) == 1
    assert packed[0].token_L.tolist() == split.token_T[:50].tolist()
    assert packed[0].is_answer_L[-1]
    settings = {"batch": 1, "seed": 0}
    with pytest.warns(UserWarning, match=r"length must be .* an answer of a begins within it; wi"):
        chat_batches(split, chatty, length=8, weights={"a": 1.0, "b": 1.0}, **settings)
    with pytest.raises(ValueError, match=r"an answer of a, b begins within it\. Got 4 instead"):
        chat_batches(split, chatty, length=4, **settings)
    with pytest.raises(
        ValueError, match=r"data\.chat\.weights must name streams .* has a, b\. Got c instead"
    ):
        chat_batches(split, chatty, length=50, weights={"c": 1.0}, **settings)


def test_processes_share_the_rows_of_a_batch(folder, chatty):
    split = open_chat(folder, "train")
    settings = {"length": 70, "seed": 5, "weights": {"a": 0.5, "b": 0.5}}
    whole = chat_batches(split, chatty, batch=4, **settings)
    parts = [chat_batches(split, chatty, batch=2, shard=(r, 2), **settings) for r in range(2)]
    for number in range(3):
        for rank, part in enumerate(parts):
            for mine, everything in zip(part[number], whole[number], strict=True):
                assert (mine == everything[rank::2]).all()
    batch = whole[0]
    assert (batch.bytes_BL == chatty.byte_length_V[batch.token_BL]).all()


def test_the_stream_of_a_run_starts_at_any_step(folder, chatty):
    chat = {"length": 70, "batch": 2}
    opened = [
        open_stream(folder.parent, "train", chatty, None, None, seed=1, chat=chat) for _ in range(2)
    ]
    first = opened[0].batches()
    for _ in range(3):
        next(first)
    expected, found = next(first)["chat"], next(opened[1].batches(3))["chat"]
    assert all((a == b).all() for a, b in zip(expected, found, strict=True))
    with pytest.raises(ValueError, match=r"key of data\.chat must .*Did you mean batch"):
        open_stream(folder.parent, "train", chatty, None, None, 1, chat={"length": 9, "bach": 1})


def test_a_set_of_conversations_and_text(tmp_path, capsys):
    rows = [{"prompt": f"Question {i // 2}?", "response": f"Answer {i}."} for i in range(60)]
    table(tmp_path / "talks.jsonl", [*rows, rows[0]])
    jsonl(tmp_path / "prose.jsonl", words(50))
    made = ["--vocabulary", "300", "--validation_share", "0.3"]
    sources = ["--text", tmp_path / "prose.jsonl", "--chat", f"t={tmp_path / 'talks.jsonl'}"]
    code, out, _ = run(capsys, tmp_path / "o", *sources, *made)
    assert code == 0
    assert "answer tokens" in out
    chatty = tokenizers.load(tmp_path / "o" / "tokenizer")
    assert chatty.chat_template == TEMPLATE
    found = json.loads((tmp_path / "o" / "chat" / "manifest.json").read_text())
    assert found["tokenizer"] == chatty.digest
    assert found["sources"][0]["duplicates"] == 1
    assert sum(split["conversations"] for split in found["splits"].values()) == 60
    asked = {}
    for name in ("train", "validation"):
        split = open_chat(tmp_path / "o" / "chat", name)
        texts = [chatty.decode(split.token_T[a:b]) for a, b in pairwise(split.offsets)]
        asked[name] = {text.partition("?")[0] for text in texts}
    assert not asked["train"] & asked["validation"]  # a question is on one side only
    assert all(asked.values())
    code, _, error = run(capsys, tmp_path / "o", *sources)
    assert code == 2
    assert "which holds text and chat" in error


def test_a_template_that_is_there_stays(tmp_path, tokenizer):
    own = (
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
        "{% if messages | length > 3 %}{{ raise_exception('too long a talk') }}{% endif %}"
    )
    Tokenizer(tokenizer.backend, own).save(tmp_path / "t")
    source = conversations(str(table(tmp_path / "a.jsonl", [{"messages": [USER, ANSWER]}] * 2)))
    settings = Settings(validation_share=0)
    done = prepare(tmp_path / "o", [], [], settings, tmp_path / "t", chat=[source])
    assert done.tokenizer.chat_template == own
    assert tokenizers.load(tmp_path / "o" / "tokenizer").chat_template == own


def test_what_a_template_refuses_is_a_bad_row_and_one_without_answers_an_error(tmp_path, tokenizer):
    refusing = (
        TEMPLATE + "{% if messages | length > 3 %}{{ raise_exception('too long') }}{% endif %}"
    )
    rows = [{"messages": [USER, ANSWER]}] * 30 + [{"messages": [USER, ANSWER] * 2}]
    source = conversations(str(table(tmp_path / "a.jsonl", rows)))
    settings = Settings(validation_share=0, allow_bad=0.05, keep_duplicates=True)
    Tokenizer(tokenizer.backend, refusing).save(tmp_path / "t")
    done = prepare(tmp_path / "o", [], [], settings, tmp_path / "t", chat=[source])
    (bad,) = (done.folder / "quarantine.jsonl").read_text().splitlines()
    assert "line 31" in bad
    assert "too long" in bad
    Tokenizer(tokenizer.backend, "{% for m in messages %}{{ m.content }}{% endfor %}").save(
        tmp_path / "u"
    )
    with pytest.raises(ValueError, match=r"must have {% generation %} around what the model writ"):
        prepare(tmp_path / "p", [], [], settings, tmp_path / "u", chat=[source])


def test_bad_conversations_stop_the_work_and_leave_nothing(tmp_path, capsys):
    table(tmp_path / "t.jsonl", [{"prompt": "a", "response": None}] * 3)
    code, _, error = run(capsys, tmp_path / "o", "--chat", tmp_path / "t.jsonl")
    assert code == 2
    assert "must hold at least one conversation. Got none (3 bad: " in error
    assert "column 'response' is missing or null" in error
    assert nothing_is_left(tmp_path / "o")
