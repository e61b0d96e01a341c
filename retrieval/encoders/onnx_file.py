"""ONNX files: exported once, kept in the cache folder with a checksum, run on the CPU."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.core.errors import EncoderError, import_extra
from consilience.core.storage.atomic_write import write_atomically
from consilience.core.storage.user_folders import cache_folder, make_private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits.

    Raises:
        EncoderError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as cause:
        raise EncoderError(f"The encoder's file '{path}' cannot be read: {cause.strerror}.") from cause


def check_sha256(path: Path, expected: str | None) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits, after comparing it.

    Args:
        path: the file.
        expected: the checksum that it must have, in hexadecimal digits; None: any.

    Raises:
        EncoderError: the file cannot be read, or has another checksum.
    """
    checksum = sha256_of(path)
    if expected is not None and checksum != expected.lower():
        raise EncoderError(
            f"The encoder's file '{path}' was changed or damaged: its SHA-256 is {checksum}, not {expected}. "
            "Restore it from a copy, or fit the panel again."
        )
    return checksum


def cached(name: str, export: Callable[[], bytes]) -> Path:
    """Return the path of the file `name` in the cache folder; `export` makes its content if it is missing or damaged.

    The checksum lies beside it in `<name>.sha256`, as sha256sum writes it. One process exports, others wait.

    Raises:
        EncoderError: the folder cannot be written.
        MissingExtraError: what `export` needs is not installed.
    """
    from filelock import FileLock

    path = cache_folder() / name
    if _is_whole(path):
        return path
    try:
        make_private_folder(path.parent)
        with FileLock(f"{path}.lock"):
            if not _is_whole(path):
                content = export()
                write_atomically(path, content)
                checksum = hashlib.sha256(content).hexdigest()
                write_atomically(_checksum_file(path), f"{checksum}  {name}\n".encode())
    except OSError as cause:
        raise EncoderError(
            f"The encoder cannot be kept in '{path.parent}': {cause.strerror}. "
            "Make room there, or name another folder in CONSILIENCE_CACHE."
        ) from cause
    return path


def open_session(path: Path) -> Any:
    """Return an onnxruntime.InferenceSession on the CPU that computes in the thread that calls it.

    Parallelism comes from the callers: with EfficientNet-Lite0 on two cores, two of them made 186 images a
    second where one call at a time on ONNX Runtime's own threads made 168.

    Raises:
        EncoderError: the file is no ONNX model that this ONNX Runtime can run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as cause:  # ONNX Runtime's errors have no base of their own
        raise EncoderError(f"ONNX Runtime cannot open '{path}': {cause}") from cause


def export_onnx(module: Any, example: Any, metadata: Mapping[str, str], outputs: Sequence[str] = ("vectors",)) -> bytes:
    """Return the ONNX model of a torch module, as the bytes of a file.

    Its input is called 'input', and all that goes in or comes out has a free batch size. The TorchScript exporter is
    used because it makes one file in 2 s; the newer one takes 15 s, keeps the weights in a second file and computes
    no faster.

    Args:
        module: the torch module.
        example: a batch for it to be traced with.
        metadata: entries to write into the model.
        outputs: what to call the tensors that it returns.

    Raises:
        EncoderError: the module has an operation that ONNX lacks.
        MissingExtraError: the extra 'clip' is not installed.
    """
    torch = import_extra("torch", "clip")
    onnx = import_extra("onnx", "clip")
    buffer = BytesIO()
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # PyTorch's fused attention is no ONNX operation
    try:
        with torch.inference_mode(), _quiet():
            torch.onnx.export(
                module.eval(),
                (example,),
                buffer,
                input_names=["input"],
                output_names=[*outputs],
                dynamic_axes={name: {0: "n"} for name in ("input", *outputs)},
                dynamo=False,
            )
    except RuntimeError as cause:
        reason = str(cause).partition("\n")[0]
        raise EncoderError(f"The model cannot be exported to ONNX: {reason}. Run it with device='cpu'.") from cause
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    model = onnx.load_model_from_string(buffer.getvalue())
    onnx.helper.set_model_props(model, dict(metadata))
    return bytes(model.SerializeToString())


def _checksum_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _is_whole(path: Path) -> bool:
    try:
        expected = _checksum_file(path).read_text(encoding="ascii", errors="replace").split()
        with path.open("rb") as file:
            return expected[:1] == [hashlib.file_digest(file, "sha256").hexdigest()]
    except OSError:  # missing, or unreadable: exporting it again will say why
        return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's warnings, log lines and graphs to itself: they concern its authors."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
