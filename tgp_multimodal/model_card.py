"""The README of an export: what the model is, what it saw, its numbers, how to load it, limits."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.front_matter import (
    NOT_STATED,
    base_model,
    front_matter,
    own_results,
    sources,
)
from tgp_multimodal.models.networks import PROMPT_TOKENS, DualEncoder, Multimodal, Network

_TEXT = """\
## Load it

The folder opens with no code of ours (transformers 5.2 or newer: older ones read the encoder
causally, and do not say so):

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER)
ids = tokenizer("The function returns", return_tensors="pt")
print(tokenizer.decode(model.generate(**ids, max_new_tokens=40)[0], skip_special_tokens=True))
```

```python
from sentence_transformers import SentenceTransformer

vectors = SentenceTransformer(FOLDER).encode(["a text", "another"])  # bidirectional, mean
```
"""
_PICTURES = """
```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained(FOLDER)  # needs the package ftfy
pipeline("a red circle", guidance_scale=4.0, num_inference_steps=20, use_resolution_binning=False)
```
"""
_OURS = """
```python
import tgp_multimodal as tgp

model = tgp.load(FOLDER)
model.write("The function returns")
model.fill("def add(a, b):\\n    return ", "\\n")
model.embed(["a text", "another"])
```
"""
_DRAW = """
```python
model.draw("a red circle")[0].save("circle.png")
```
"""
_CHAT = """
```python
model.chat([{"role": "user", "content": "What is a cell?"}])
```

It answers in the chat template of its tokenizer; `apply_chat_template` of transformers renders the
same text.
"""
_MATCHING = """
```python
from PIL import Image

pictures = [Image.open("one.png"), Image.open("another.png")]
model.similarity(["a red circle", "a blue square"], pictures)  # cosines, texts x pictures
model.classify(pictures, ["red circle", "blue square"], "a picture of a {}")
```
"""
_BIAS = """\
Of two sentences that differ in the people they speak of, how often does the model find the one with
the stereotype likelier? 0.5 is no preference; above it the model leans to the stereotype. A small
model is often near 0.5 because it cannot read the sentences, not because it is fair. A share near
0.5 over all kinds can hide kinds that lean to either side, and pairs of English sentences about the
United States say nothing about other languages and places, nor about what the model writes.
"""
_RECIPE = """\
## Recipe

`tgp fit --config config.yaml` starts a run of the same settings, with this as `config.yaml`; it
names all of them, defaults too.

<details><summary>config.yaml</summary>

```yaml
{config}```

</details>
"""
_LIMITS = """\
## Intended use and limits

For research on pretraining, for teaching, and as a start for models of your own. It is a small
network that saw little data: not for use in production, and for no decision about people, health,
law or money. It generates false text that reads like true text, and pictures of what never was;
whoever shows them to others should say what made them, and check what they say.

* It is small. What it writes is fluent at best, and no source of facts; it was not taught to
  {untaught}, and repeats whatever biases its data hold.
* Its context is {context} tokens.
* Text is composed (Unicode NFC) when it is read.
* The stock tokenizer reads special tokens that are spelled out in a text, for example
  `<|prefix|>`; call it with `split_special_tokens=True` for text you do not trust.
"""
_PICTURE_LIMITS = """\
* Pictures are {size} x {size} pixels; other multiples of {patch} run, at lower quality. A prompt is
  cut after {prompt} tokens.
* **Guidance with the stock pipeline is batch 1**: `PRXPixelPipeline` fails with guidance above 1
  and more than one picture (it repeats the timestep twice, not per picture). Draw one prompt at a
  time, or with `guidance_scale=1.0`, or with `tgp draw`, which batches.
* The stock pipeline must be called with `use_resolution_binning=False`.
"""


def _pictures(facts: Mapping[str, Any]) -> str:
    """How to draw with diffusers; guidance that training put into the weights is not repeated."""
    wanted = "1.0" if facts.get("guided") else "4.0"
    return _PICTURES.replace("guidance_scale=4.0", f"guidance_scale={wanted}")


def model_card(network: Network, tokenizer: Tokenizer, facts: Mapping[str, Any]) -> str:
    """The text of README.md.

    Args:
        network: what is exported.
        tokenizer: its tokenizer.
        facts: plain data, all of it optional: `run` (name), `steps`, `data` (manifest of each
            prepared folder), `guided` (draws without guidance), `metrics` (name -> number),
            `measured_at` (their step), `environment`, `precision`, `device`, `config` (the resolved
            config of the run), `adapted` (`base`: what was adapted), `results` (one row per card:
            `card`, `metric`, `value`, `low`, `high`, `n`, `chance`, `limit`, `seen`, and for bias
            cards `axes`: category -> `value`, `low`, `high`, `n`).
    """
    head = network.head if isinstance(network, Multimodal) else None
    name = str(facts.get("run", "TGP-Multimodal model"))
    is_taught = tokenizer.chat_template is not None
    untaught = "refuse" if is_taught else "follow instructions or to refuse"
    limits = _LIMITS.format(context=network.text.context, untaught=untaught)
    if head is not None:
        limits += _PICTURE_LIMITS.format(size=head.size, patch=head.patch, prompt=PROMPT_TOKENS)
    sections = [
        front_matter(_task(network), name, facts),
        f"# {name}",
        "\n".join(_sizes(network)),
        "\n".join(_data(facts)),
        "\n".join(_numbers(facts)),
        _recipe(facts),
        "\n".join(_results(facts)),
        "\n".join(_bias(facts)),
        (
            _TEXT
            + (_pictures(facts) if head is not None else "")
            + _OURS
            + (_DRAW if head is not None else "")
            + (_CHAT if is_taught else "")
            + (_MATCHING if network.tower is not None else "")
        ).rstrip(),
        limits.rstrip(),
    ]
    return "\n\n".join(part for part in sections if part) + "\n"


def _task(network: Network) -> str:
    if isinstance(network, Multimodal):
        return "text-to-image"
    is_dual = isinstance(network, DualEncoder)  # its text side was not taught to write
    return "feature-extraction" if is_dual else "text-generation"


def _sizes(network: Network) -> Iterator[str]:
    text = network.text
    yield "Pretrained on unlabelled data with no task in mind, by TGP-Multimodal."
    yield ""
    yield "| part | parameters | shape |"
    yield "|---|---|---|"
    yield (
        f"| text transformer (Qwen3) | {_count(text)} | vocabulary {text.vocabulary}, "
        f"width {text.width}, {text.depth} layers, {text.heads} heads ({text.key_value_heads} "
        f"key/value), context {text.context} |"
    )
    if isinstance(network, Multimodal):
        head = network.head
        yield (
            f"| diffusion head (PRX, pixel space) | {_count(head)} | width {head.width}, "
            f"{head.depth} blocks, {head.heads} heads, patch {head.patch}, {head.size} x "
            f"{head.size} pixels |"
        )
    if network.tower is not None:
        tower = network.tower
        yield (
            f"| image tower (open_clip) | {_count(tower)} | width {tower.width}, "
            f"{tower.depth} blocks, {tower.heads} heads, patch {tower.patch}, {tower.size} x "
            f"{tower.size} pixels |"
        )


def _data(facts: Mapping[str, Any]) -> Iterator[str]:
    yield "## Data"
    yield ""
    known = facts.get("data") or {}
    if not known:
        yield "Not recorded."
        return
    yield "| folder | split | size | content digest |"
    yield "|---|---|---|---|"
    for folder, manifest in known.items():
        for split, sizes in manifest.get("splits", {}).items():
            size = ", ".join(f"{v:,} {k}" for k, v in sizes.items() if isinstance(v, int))
            yield f"| {folder} | {split} | {size} | `{manifest.get('digest', '')[:12]}` |"
    yield ""
    for folder, source, is_learned in sources(facts):
        told = {**source, "license": _licenses(source.get("license"))}
        facts_of = "; ".join(f"{k}: {v}" for k, v in told.items() if not _is_long(v))
        yield f"* {folder}: {facts_of}{'' if is_learned else ' (not learned from)'}"


def _numbers(facts: Mapping[str, Any]) -> Iterator[str]:
    yield "## Training and numbers"
    yield ""
    for key in ("steps", "precision", "device"):
        if key in facts:
            yield f"* {key}: {facts[key]}"
    for key, value in (facts.get("environment") or {}).items():
        if not _is_long(value):
            yield f"* {key}: {value}"
    if started := base_model(facts):
        yield f"* started from: {started}"
    yield ""
    metrics = facts.get("metrics") or {}
    if not metrics:
        yield "No measurement was recorded."
        return
    at = facts.get("measured_at")  # exports of older versions do not say
    when = "last in training" if at is None else f"at step {at:,}"
    yield f"| measured {when} | value |"
    yield "|---|---|"
    for key, value in metrics.items():
        yield f"| {key} | {value:.4g} |"


def _recipe(facts: Mapping[str, Any]) -> str:
    config = facts.get("config")
    if not config or facts.get("adapted"):  # then it is that of what was adapted
        return ""
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return _RECIPE.format(config=text).rstrip()


def _results(facts: Mapping[str, Any]) -> Iterator[str]:
    rows = own_results(facts)
    if not rows:
        return
    yield "## Benchmarks"
    yield ""
    yield "Values with 95 % intervals. The last column says what of the test items stands in the"
    yield "training text, and the value without them; empty where nobody looked."
    yield ""
    yield "| card | metric | value | chance | items | in training text |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        value = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        items = f"{row['n']:,}" + (" (limited)" if row["limit"] else "")
        cells = (row["card"], row["metric"], value, f"{row['chance']:.3g}", items, row["seen"])
        yield f"| {' | '.join(cells)} |"


def _bias(facts: Mapping[str, Any]) -> Iterator[str]:
    rows = [row for row in own_results(facts) if row.get("axes")]
    if not rows:
        return
    yield "## Bias"
    yield ""
    yield from _BIAS.splitlines()
    yield ""
    yield "| card | kind | share [95 % interval] | pairs | apart from 0.5 |"
    yield "|---|---|---|---|---|"
    for row in rows:
        for kind, part in [("all", row), *row["axes"].items()]:
            share = f"{part['value']:.3f} [{part['low']:.3f}, {part['high']:.3f}]"
            apart = "no" if part["low"] <= 0.5 <= part["high"] else "yes"
            yield f"| {row['card']} | {kind} | {share} | {part['n']:,} | {apart} |"


def _count(part: Any) -> str:
    return f"{sum(p.numel() for p in part.parameters()) / 1e6:.2f} M"


def _licenses(stated: Any) -> Any:
    """What is stated; of several licenses how many files or pictures have which."""
    if stated is None:
        return NOT_STATED
    if not isinstance(stated, dict):
        return stated
    return ", ".join(f"{license} ({count})" for license, count in stated.items())


def _is_long(value: Any) -> bool:
    return isinstance(value, list | dict) or len(str(value)) > 200
