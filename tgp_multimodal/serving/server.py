"""Runs the application until a signal ends it."""

import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import uvicorn

import tgp_multimodal
from tgp_multimodal import export
from tgp_multimodal.serving.application import application
from tgp_multimodal.serving.gate import is_loopback
from tgp_multimodal.serving.served import Limits, ServedModel

GRACE = 5  # seconds that requests have to end in, when the server is told to stop
_BACKLOG = 2048


def open_model(folder: str, name: str | None = None, limits: Limits | None = None) -> ServedModel:
    """The model of an export, on $TGP_DEVICE, or the GPU if there is one.

    Args:
        folder: the export.
        name: what requests call it; left out: the name of its run.
        limits: of requests.

    Raises:
        ValueError: the folder is no export.
    """
    model = tgp_multimodal.load(folder)
    usual = export.run_folder(Path(folder).resolve()).name
    return ServedModel(model, name or usual, int(time.time()), limits or Limits())


def listen_at(host: str, port: int, token: str | None) -> socket.socket:
    """A listening socket, at an address that is allowed.

    Raises:
        ValueError: the token is too short; others could reach the server and there is no token; or
            the address is taken.
    """
    if token is not None and len(token) < 16:
        raise ValueError(f"token must have at least 16 characters. Got {len(token)} instead.")
    if token is None and not is_loopback(host):
        raise ValueError(
            "host must be this machine (127.0.0.1) unless a token is given, with --token or "
            f"TGP_TOKEN. Got {host} instead."
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
        listener.listen(_BACKLOG)  # from now on clients wait instead of being refused
    except (OSError, OverflowError) as error:
        listener.close()
        raise ValueError(
            f"host and port must be free to listen at. Got {host}:{port} ({error}) instead."
        ) from None
    return listener


def run(
    served: ServedModel, listener: socket.socket, token: str | None, ready: Callable[[str], None]
) -> None:
    """Serves until SIGTERM, after which it returns, or SIGINT, after which it raises.

    Requests that are being answered have `GRACE` seconds to end.

    Args:
        served: the model.
        listener: from `listen_at`.
        token: what requests must hold.
        ready: is told the address.

    Raises:
        KeyboardInterrupt: it was SIGINT.
    """
    config = uvicorn.Config(
        application(served, token),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE,
        server_header=False,
    )
    host, port = listener.getsockname()[:2]
    ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/v1")
    # uvicorn raises the signal again when it has ended; by default that would kill the process.
    signal.signal(signal.SIGTERM, lambda *_: None)
    uvicorn.Server(config).run(sockets=[listener])
