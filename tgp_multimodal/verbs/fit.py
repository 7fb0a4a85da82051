"""`tgp fit`: LightningCLI."""

import sys

_SUBCOMMANDS = ("fit", "validate", "test", "predict")


def run(argv: list[str]) -> None:
    """Pretrains from a YAML config.

    Options before any subcommand are those of `fit`, so `tgp fit --config nano.yaml` is the same as
    `tgp fit fit --config nano.yaml`.

    Args:
        argv: what stands behind `tgp fit`.
    """
    from tgp_multimodal.training.run import run as run_cli

    arguments = argv if argv[:1] and argv[0] in _SUBCOMMANDS else ["fit", *argv]
    cli = run_cli(arguments)
    folder = cli.trainer.default_root_dir
    if cli.stop.stopped:
        print(
            f"stopped and saved; go on with: tgp fit {' '.join(argv)} --ckpt_path last",
            file=sys.stderr,
        )
        raise SystemExit(130)
    if cli.trainer.is_global_zero:
        print(f"the run lies in {folder}; export it with: tgp export {folder}")
