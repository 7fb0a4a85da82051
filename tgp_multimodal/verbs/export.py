"""`tgp export`: a training checkpoint becomes one folder that stock libraries load."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tgp_multimodal.data.tokenizer import Tokenizer


def export(source: str, output: str | None = None, results: str | None = None) -> None:
    """Turn a checkpoint into one folder that stock libraries load.

    The libraries are transformers, diffusers and sentence-transformers. Averaged (EMA) weights are
    used if the checkpoint has them.

    Args:
        source: run folder (its newest whole checkpoint is taken), or a checkpoint file in one.
        output: folder to write; left out: export/ in the run folder. An older export there is
            replaced, but what no export wrote (.git, say) stays.
        results: folder that `tgp evaluate` wrote: its results for exactly these weights go into the
            model card, with how many test items were found in training text.

    Examples:
        tgp export runs/nano
        tgp export runs/nano/checkpoints/last.ckpt --output my-model
        tgp export runs/nano --results runs/nano/results
    """
    from tgp_multimodal import export as exports
    from tgp_multimodal.model_card import model_card
    from tgp_multimodal.training.checkpoints import folder_of, newest

    path = Path(source)
    run = path if path.is_dir() else path.resolve().parent.parent
    if path.is_dir():
        path = newest(run) or folder_of(run) / "last.ckpt"  # which the error then names
    checkpoint = exports.load_checkpoint(path)
    network = exports.network_from_checkpoint(checkpoint)
    tokenizer = _tokenizer(run, checkpoint.get("tokenizer"))
    facts = run_facts(run, checkpoint)
    if results is not None:
        facts["results"] = benchmarks(Path(results), exports.weights_digest(network))
    folder = Path(output) if output else run / "export"
    exports.save(folder, network, tokenizer, facts, model_card(network, tokenizer, facts))
    print(f"export: {folder} (weights {exports.weights_digest(network)[:12]})")


def run_facts(run: Path, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What a run folder says about its training: plain data for `tgp.json` and the card."""
    import yaml

    from tgp_multimodal.data.json_files import read_object
    from tgp_multimodal.export import without_home

    found: dict[str, Any] = {"run": run.resolve().name, "steps": checkpoint.get("global_step")}
    if checkpoint.get("guided"):
        found["guided"] = True  # draws without guidance what others draw with it
    manifest = run / "manifest.json"
    if manifest.is_file():
        content = read_object(manifest)
        kept = ("data", "precision", "device", "environment")
        found |= {key: content[key] for key in kept if key in content}
    if (config := run / "config.yaml").is_file():
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
        found["config"] = content | {"ckpt_path": None}  # of a resumed run: others have it not
    steps = checkpoint.get("global_step")
    found["metrics"], found["measured_at"] = _last_metrics(run / "metrics.csv", steps)
    return dict(without_home(found))


def benchmarks(results: Path, weights: str) -> list[dict[str, Any]]:
    """What result files say of a model, one row a card, for the model card.

    Args:
        results: folder with one folder of result files per model.
        weights: digest of the weights; results of others are left out.

    Raises:
        ValueError: there is none of these weights.
    """
    from tgp_multimodal.evaluation.leaderboard import read
    from tgp_multimodal.evaluation.results import is_contaminated, overlap_note

    found = [file.result for file in read(results)[0]]
    own = [r for r in found if r.model_facts.get("weights") == weights]
    if not own:
        raise ValueError(
            f"results must hold one of the weights {weights[:12]}. Got {results} with none instead."
        )
    kept = ("card", "metric", "value", "low", "high", "n", "chance", "limit")
    rows = [{name: getattr(r, name) for name in kept} for r in own]
    for row, result in zip(rows, own, strict=True):
        notes = (overlap_note(result), overlap_note(result, 8) * is_contaminated(result))
        row["seen"] = "; ".join(filter(None, notes))
        if result.protocol == "bias":
            row["axes"] = result.details.get("axes")
    return sorted(rows, key=lambda row: row["card"])


def _last_metrics(path: Path, steps: int | None) -> tuple[dict[str, float], int | None]:
    """The last value of each validation column of a metrics file, and the steps done by then.

    Rows measured after the last step of the checkpoint belong to another network and are skipped.
    Steps in the file count from 0.
    """
    import csv

    from tgp_multimodal.evaluation.run_curves import whole_lines

    last: dict[str, float] = {}
    at = None
    if not path.is_file():
        return last, at
    for row in csv.DictReader(whole_lines(path)):
        values = {k: v for k, v in row.items() if k and k.startswith("val") and v}
        step = int(row["step"]) if row.get("step") else None
        if not values or (step is not None and steps is not None and step >= steps):
            continue
        last |= {key: float(value) for key, value in values.items()}
        at = None if step is None else step + 1
    return last, at


def _tokenizer(run: Path, spoken: str | None) -> "Tokenizer":
    """The tokenizer of a run: in its folder, with the data that its config names, or with its own.

    Args:
        run: the run's folder.
        spoken: digest of the tokenizer that the checkpoint knows; None: of an older version.

    Raises:
        FileNotFoundError: there is no tokenizer.
        ValueError: only tokenizers with other digests were found.
    """
    import yaml

    from tgp_multimodal.data import tokenizer as tokenizers

    places = [run / "tokenizer", run / "data" / "tokenizer"]
    config = run / "config.yaml"
    if config.is_file():
        data = (yaml.safe_load(config.read_text(encoding="utf-8")) or {}).get("data") or {}
        if isinstance(data, dict) and data.get("folder"):
            places.insert(1, Path(data["folder"]) / "tokenizer")
    there = [place for place in places if (place / "tokenizer.json").is_file()]
    found = {place: tokenizers.load(place) for place in there}
    for tokenizer in found.values():
        if spoken in (None, tokenizer.digest):
            return tokenizer
    if not found:
        listed = ", ".join(map(str, dict.fromkeys(places)))
        raise FileNotFoundError(f"tokenizer must be in one of {listed}. Got none there instead.")
    listed = ", ".join(f"{tokenizer.digest} in {place}" for place, tokenizer in found.items())
    raise ValueError(
        f"tokenizer must be the one of the checkpoint, {spoken}. Got {listed} instead."
    )
