"""Lets a torchvision that was built for GPUs be imported beside a torch for CPUs, by the Python that runs this.

Its compiled part cannot be loaded there, and then its own import fails over operators that nobody declared. Only the
part in Python is needed: so the two operators are declared. A second run changes nothing.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

DECLARATIONS = """

if not _has_ops():
    _declared = torch.library.Library("torchvision", "FRAGMENT")
    for _operator in ("nms", "qnms"):
        _declared.define(_operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""

spec = importlib.util.find_spec("torchvision")  # which does not import it
if spec is None or spec.origin is None:
    sys.exit("torchvision is not installed")
extension = Path(spec.origin).with_name("extension.py")
text = extension.read_text()
if DECLARATIONS not in text:
    extension.write_text(text + DECLARATIONS)
