"""`tgp serve`: a model behind OpenAI's interface."""


def serve(
    folder: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    name: str | None = None,
    body: int = 1_000_000,
    waiting: int = 256,
) -> None:
    """Answer OpenAI's clients: completions, infilling, chat, embeddings and pictures.

    By default only this machine can ask. Anywhere else a token is required, which clients send as
    their API key. SIGTERM and Ctrl-C let requests end for some seconds, then stop them.

    Args:
        folder: export folder of the model.
        host: address to listen at; others than this machine's need a token.
        port: where to listen; 0 takes a free one, which is printed.
        token: what clients must send; left out, the variable TGP_TOKEN is read. Better there: other
            users of this machine see the options of a process.
        name: what requests call the model; left out, the name of its run.
        body: most bytes of a request.
        waiting: most requests that wait; the next one is told to come back.

    Examples:
        tgp serve runs/nano/export
        tgp serve runs/nano/export --port 0 --name nano
        TGP_TOKEN=$(openssl rand -hex 24) tgp serve runs/nano/export --host 0.0.0.0
    """
    import os

    from tgp_multimodal.serving import server
    from tgp_multimodal.serving.served import Limits

    for option, value in (("body", body), ("waiting", waiting)):
        if value < 1:
            raise ValueError(f"{option} must be at least 1. Got {value} instead.")
    token = token or os.environ.get("TGP_TOKEN") or None
    listener = server.listen_at(host, port, token)
    with listener:
        served = server.open_model(folder, name, Limits(body=body, waiting=waiting))

        def ready(address: str) -> None:
            print(f"serving {served.name} at {address} (Ctrl-C stops)", flush=True)

        server.run(served, listener, token, ready)
