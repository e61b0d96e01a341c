"""Heat maps by class activation: exact for linear heads whose encoder tells where it saw what.

After Zhou et al., 'Learning Deep Features for Discriminative Localization' (CVPR 2016), for features that are no plain
means. A linear logit is the sum of w_k v_k. Number v_k of the vector is made of channel k alone of the last feature
map, f_k(x, y) >= 0 (EfficientNet-Lite: v_k = sqrt(mean of f_k) / norm), so that a place's part of it is its share of
the channel's sum, as in layer-wise relevance propagation (Bach et al. 2015):

    M(x, y) = sum over k of  w_k v_k f_k(x, y) / sum of f_k,     sum of M = sum of w_k v_k

With w the difference of two labels' weights. Calibration multiplies the log-odds by a slope, the diagnosis by a weight;
what does not come from the image (bias, shifts of the calibrator) is spread evenly over the places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from consilience.agents import Head
from consilience.agents.heads.on_eye import OnEye
from consilience.core.errors import HeatMapError
from consilience.core.render.heat_map import HeatMap
from consilience.orchestrator.ensemble.members import Member
from consilience.orchestrator.heat.compared_labels import ComparedLabels, first_looks
from consilience.retrieval.encoders.encoder import Sight
from consilience.retrieval.encoders.eye import Eye


def activation_heat(
    compared: ComparedLabels,
    heads: Iterable[Head],
    members: Sequence[Member],
    sight: Sight,
    eyes: Sequence[Eye],
    size: tuple[int, int],
) -> HeatMap:
    """Return the heat map by all linear heads that count in the diagnosis and whose eye tells where.

    Args:
        compared: the labels.
        heads: of the panel. members: of the panel.
        sight: what its encoder sees in the image. eyes: of the encoder; none where it is one.
        size: height and width of the image.

    Raises:
        HeatMapError: there is no such head.
    """
    looks, evidence = first_looks(members), dict[str, NDArray[np.float64]]()
    for head in heads:
        logits, features, seen = head.linear(), sight.vectors, sight.maps[0]
        if isinstance(head, OnEye):
            features, seen = head.eye.of(sight.vectors), sight.maps[[*eyes].index(head.eye)]
        weight = compared.weight(head.name)
        if logits is None or seen is None or not weight:
            continue
        label, other = compared.places
        slope = compared.slope(looks[head.name])
        grid = slope * shares_of_logit(logits.weights[label] - logits.weights[other], features[0], seen)
        elsewhere = compared.calibrated_log_odds(head.name) - float(grid.sum())
        evidence[head.name] = weight * (grid + elsewhere / grid.size)
    if not evidence:
        raise HeatMapError(
            "no agent that counts here can tell where it looked: only probe, gaussian and self-trained on "
            "EfficientNet-Lite can, in a panel of this version. `consilience diagnose IMAGE --picture DIR --occlusion` "
            "asks any other"
        )
    return HeatMap(compared.label, compared.other, evidence, size, "activation")


def shares_of_logit(
    weights: NDArray[np.floating], features: NDArray[np.floating], seen: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return each place's part of a linear logit, float64 (height, width); they sum to weights @ features.

    Args:
        weights: (d,). features: (d,).
        seen: the feature map that `features` is made of, (d, height, width), none below 0.
    """
    sums = seen.sum(axis=(1, 2), dtype=np.float64)
    by_channel = np.divide(weights * features, sums, out=np.zeros(len(sums)), where=sums > 0)
    height, width = seen.shape[1:]
    return np.asarray((by_channel @ seen.reshape(len(sums), -1)).reshape(height, width), np.float64)
