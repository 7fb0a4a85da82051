"""`tgp serve`: a model behind OpenAI's interface."""


def serve(
    folder: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    name: str | None = None,
    body: int = 1_000_000,
    waiting: int = 256,
    compile: bool = False,
) -> None:
    """Answer OpenAI's clients: completions, infilling, chat, embeddings and pictures.

    By default the server is reachable from this machine only. At any other address it requires a
    token, which clients send as their API key. SIGTERM and Ctrl-C give requests a few seconds to
    finish, then stop them.

    Args:
        folder: export folder of the model.
        host: address to listen on; any but this machine's own needs a token.
        port: port to listen on; 0 picks a free one, which is printed.
        token: API key that clients must send; left out, the variable TGP_TOKEN is read. That is
            safer: other users of this machine can see the options of a process.
        name: name of the model in requests; left out, the name of its run.
        body: largest request body, in bytes.
        waiting: most requests in the queue; further ones get 503 and are asked to retry.
        compile: compile the decoding step before the server is ready (up to a minute the first
            time on a machine, some ten seconds afterwards). Decoding one text then takes half the
            time per token or less. On CPUs only; needs a C++ compiler.

    Examples:
        tgp serve runs/nano/export
        tgp serve runs/nano/export --port 0 --name nano --compile
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
        if compile:
            print("compiling the steps of writing (up to a minute the first time)", flush=True)
            served.model.compile()

        def ready(address: str) -> None:
            print(f"serving {served.name} at {address} (Ctrl-C stops)", flush=True)

        server.run(served, listener, token, ready)
