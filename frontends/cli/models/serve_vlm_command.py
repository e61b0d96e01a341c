"""`consilience serve-vlm`: a vision-language model on vLLM, for as long as the command runs."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consilience.core.errors import MissingExtraError
from consilience.frontends.cli.options import PATH
from consilience.frontends.cli.outcome import Failure

if TYPE_CHECKING:
    from consilience.frontends.cli.models.server_process import Server

KEY_VARIABLE = "VLLM_API_KEY"
"""Where vLLM itself looks for the key that it is to ask for."""

EXAMPLES = """\b
What stands after -- goes to `vllm serve` and wins over what is set here. On a machine with GPUs:
  one GPU of 24 GB and more
    consilience serve-vlm Qwen/Qwen2.5-VL-7B-Instruct
  4 bit, one GPU of 12 GB and more: weights quantized beforehand, or when they are loaded (install bitsandbytes)
    consilience serve-vlm Qwen/Qwen2.5-VL-7B-Instruct-AWQ -- --max-model-len 8192
    consilience serve-vlm Qwen/Qwen2.5-VL-7B-Instruct -- --quantization bitsandbytes
  two GPUs that share the model
    consilience serve-vlm Qwen/Qwen2.5-VL-7B-Instruct -- --tensor-parallel-size 2
  LoRA adapters: each is a model of its own, called by its name
    consilience serve-vlm Qwen/Qwen2.5-VL-7B-Instruct --lora leaves/ --lora scans/
  second looks with up to 8 similar cases instead of 4
    consilience serve-vlm Qwen/Qwen2.5-VL-7B-Instruct -- --limit-mm-per-prompt '{"image": 9}'

\b
For other machines: --host 0.0.0.0, and a key in the variable VLLM_API_KEY, which the server then asks for.
"""


@click.command(epilog=EXAMPLES)
@click.argument("model")
@click.argument("vllm_arguments", nargs=-1, metavar="[-- VLLM_ARGUMENT...]")
@click.option(
    "--lora",
    "adapters",
    multiple=True,
    type=PATH,
    metavar="DIR",
    help="Serve this LoRA adapter as well; may be given many times.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--executable", metavar="PATH", help="The vllm program, if it is in another environment.")
@click.option("--cpu", is_flag=True, help="For a machine without a GPU: compiles nothing and takes little memory.")
@click.option("--log", type=PATH, metavar="FILE", help="File for vLLM's log; default: a temporary one.")
@click.option(
    "--timeout",
    default=1800.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds to wait until it is ready; it may have to download the model.",
)
def serve_vlm(
    model: str,
    vllm_arguments: tuple[str, ...],
    adapters: tuple[Path, ...],
    host: str,
    port: int,
    executable: str | None,
    cpu: bool,
    log: Path | None,
    timeout: float,
) -> None:
    """Serve a vision-language model with vLLM.

    MODEL is a model of the Hugging Face hub, or a folder with a checkpoint. When it is ready, the settings of an agent
    that asks it are printed: put them into your settings file. Ctrl-C stops it.
    """
    from consilience.frontends.cli.models.server_process import refuse_busy_port, served
    from consilience.frontends.cli.terminal import console, print_settings, waiting

    if reserved := [argument for argument in vllm_arguments if argument.partition("=")[0] in ("--host", "--port")]:
        raise click.UsageError(f"Give {reserved[0].partition('=')[0]} before --, so that this command knows of it.")
    program = _program(executable)
    refuse_busy_port(host, port)
    flags = [*_flags(cpu), *_lora_flags(adapters), *vllm_arguments]
    command = [program, "serve", model, "--host", host, "--port", str(port), *flags]
    with _log_file(log) as file, served(command, _environment(program, cpu), host, port, file) as server:
        with waiting(console(stderr=True), f"starting vLLM with {model}; its log is '{server.log}'"):
            server.wait_until_healthy(timeout)
        out = console()
        heading = f"# {model} is served at {server.base_url}; Ctrl-C stops it. Settings of an agent that asks it:"
        out.print(heading, soft_wrap=True)
        print_settings(out, {"models": _agents(server)})
        sys.stdout.flush()
        server.wait()


def _program(executable: str | None) -> str:
    """Return the vllm to run: the given one, else the one beside this Python, else the one on PATH.

    Raises:
        Failure: the given one cannot be run.
        MissingExtraError: there is none.
    """
    if executable is not None:
        if program := shutil.which(executable):
            return program
        raise Failure(
            f"'{executable}' is not a program that can be run; give the path of vllm, such as .venv-vllm/bin/vllm"
        )
    if program := shutil.which(Path(sys.executable).with_name("vllm")) or shutil.which("vllm"):
        return program
    raise MissingExtraError(
        "vLLM is not installed here. Install it with: pip install 'consilience[vllm]'; or name the vllm of another "
        "environment with --executable"
    )


def _flags(cpu: bool) -> list[str]:
    from consilience.core.settings.model_settings import LookSettings

    pictures = 1 + LookSettings.model_fields["neighbours_shown"].default
    return [
        "--max-model-len=auto",  # else a long context that the GPU cannot hold ends the start
        f"--limit-mm-per-prompt={json.dumps({'image': pictures, 'video': 0})}",
        "--generation-config=vllm",  # else the model's own temperature and penalties apply
        # Without a backend that is named, and with whitespace, a weak model fills its answer with blanks.
        f"--structured-outputs-config={json.dumps({'backend': 'xgrammar', 'disable_any_whitespace': True})}",
        *(["--enforce-eager", "--kv-cache-memory-bytes=1G"] if cpu else []),
    ]


def _lora_flags(adapters: tuple[Path, ...]) -> list[str]:
    """Return the flags that serve each adapter under the name of its folder. Raises Failure: two have one name."""
    from consilience.agents.vlm.lora_adapter import RANKS, rank_of

    if not adapters:
        return []
    names = [adapter.absolute().name for adapter in adapters]
    if twice := [name for name in names if names.count(name) > 1]:
        raise Failure(
            f"two adapters are in folders called '{twice[0]}', and they are served by that name; rename one folder"
        )
    rank = next(rank for rank in RANKS if rank >= max(map(rank_of, adapters)))
    modules = [f"{name}={adapter.absolute()}" for name, adapter in zip(names, adapters, strict=True)]
    return ["--enable-lora", f"--max-loras={len(adapters)}", f"--max-lora-rank={rank}", "--lora-modules", *modules]


def _environment(program: str, cpu: bool) -> dict[str, str]:
    """Return our environment with the programs beside vllm on PATH, and without reports of its use."""
    path = os.pathsep.join([str(Path(program).parent), os.environ.get("PATH", os.defpath)])
    quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    uncompiled = {"TORCHDYNAMO_DISABLE": "1"} if cpu else {}  # else the first request compiles for half a minute
    return quiet | uncompiled | os.environ | {"PATH": path}


@contextmanager
def _log_file(path: Path | None) -> Iterator[Path]:
    """Yield the given file, or a temporary one that stays only if something went wrong."""
    if path is not None:
        yield path
        return
    descriptor, name = tempfile.mkstemp(prefix="consilience-vllm-", suffix=".log")
    os.close(descriptor)
    try:
        yield Path(name)
    except Failure:
        raise
    except BaseException:
        os.unlink(name)
        raise
    os.unlink(name)


def _agents(server: Server) -> list[dict[str, str]]:
    """Return the settings of an agent for each model that the server names. Raises Failure: it does not name any."""
    key = os.environ.get(KEY_VARIABLE)
    answer = server.get("/v1/models", {"Authorization": f"Bearer {key}"} if key else {})
    try:
        names = [str(model["id"]) for model in json.loads(answer or b"")["data"]]
    except (ValueError, KeyError, TypeError) as cause:
        raise Failure(f"{server.base_url}/models did not answer as vLLM does") from cause
    return [
        {
            "kind": "endpoint",
            "name": name.rstrip("/").rpartition("/")[2].lower(),
            "model": name,
            "base_url": server.base_url,
            "confidence": "logprob",
            **({"key_variable": KEY_VARIABLE} if key else {}),
        }
        for name in names
    ]
