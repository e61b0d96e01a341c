"""Novelty: is an image of any known label at all? Signs, each in a file with its paper, and one score of them all.

Every sign, and the score, is higher the more novel an image is. Two signs read what the agents said at first
(`predictive_entropy`, `disagreement`), two read where the image's vector lies (`mahalanobis`, `knn`, in the space of
`whitening`).
"""
