"""A model file may say that its weights lie in another file, and so read any file of whoever opens it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from consilience.core.errors import EncoderError
from consilience.retrieval.encoders.onnx_file import open_session

WEIGHTS = np.arange(4, dtype=np.float32)


def model_with_weights_in(location: str) -> bytes:
    """An ONNX model that adds four weights to its input; they lie in another file."""
    onnx = pytest.importorskip("onnx")
    weights = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[4])
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "16"}.items():
        weights.external_data.add(key=key, value=value)
    shape = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in ("input", "vectors")]
    node = onnx.helper.make_node("Add", ["input", "w"], ["vectors"])
    graph = onnx.helper.make_graph([node], "g", shape[:1], shape[1:], [weights])
    opsets = [onnx.helper.make_opsetid("", 17)]
    return bytes(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


@pytest.mark.parametrize("location", ["../secret", "inner/../../secret", "link", "/{outside}/secret"])
def test_weights_outside_of_the_models_folder_are_not_read(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "panel"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(WEIGHTS.tobytes())
    (folder / "link").symlink_to(tmp_path / "secret")
    file = folder / "model.onnx"
    file.write_bytes(model_with_weights_in(location.replace("/{outside}", str(tmp_path))))
    with pytest.raises(EncoderError, match="cannot open"):
        open_session(file)


def test_weights_beside_the_model_are(tmp_path: Path) -> None:
    (tmp_path / "beside").write_bytes(WEIGHTS.tobytes())
    (tmp_path / "model.onnx").write_bytes(model_with_weights_in("beside"))
    [vectors] = open_session(tmp_path / "model.onnx").run(None, {"input": np.ones(4, np.float32)})
    assert vectors.tolist() == [1.0, 2.0, 3.0, 4.0]
