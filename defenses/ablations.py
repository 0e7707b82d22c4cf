"""What to turn off, swap or sweep in each method, as data: `bench ablate NAME` runs a table of it.

part -> label -> the fields that are changed, as they are typed after `--set defense.`; whatever is not named
stays as the method has it. Only what is chosen before training is here: an attacker's budget, steps and
restarts are options of `bench run`, architectures and seeds are, too. What has a name of its own (`clp`,
`lsq`, the baselines) is compared on a board.
"""

from __future__ import annotations

from collections.abc import Mapping

Rows = Mapping[str, Mapping[str, str]]

AGKD_BML: Mapping[str, Rows] = {
    "terms": {
        "no AGKD": {"agkd": "false"},
        "no BML": {"bml": "false"},
        "neither AGKD nor BML": {"agkd": "false", "bml": "false"},
        "single direction (SML)": {"negative": "clean"},
        "no MART": {"mart": "false"},
    },
    "attention": {
        "attention of the last stage but one": {"attention_stage": "-2"},
        "no attention on the backward image": {"attention_on_backward": "false"},
    },
    "metric": {
        "margin 0": {"margin": "0"},
        "margin 0.1": {"margin": "0.1"},
        "margin 0.3": {"margin": "0.3"},
        "lam1 0.5": {"lam1": "0.5"},
        "lam1 8": {"lam1": "8"},
        "lam2 0": {"lam2": "0"},
        "lam2 0.01": {"lam2": "0.01"},
    },
    "labels and start": {
        "no label smoothing": {"label_smoothing": "0"},
        "label smoothing 0.1": {"label_smoothing": "0.1"},
        "teacher without smoothing": {"teacher": "standard"},
        "student from fresh weights": {"init_from_teacher": "false"},
    },
    "inner attack": {
        "1 step": {"steps": "1", "step_size": "1"},
        "2 steps": {"steps": "2", "step_size": "1/2"},
        "7 steps": {"steps": "7"},
    },
}

FDML: Mapping[str, Rows] = {
    "terms": {
        "no distillation": {"alpha": "0"},
        "no metric": {"beta": "0"},
        "neither (PGD training)": {"alpha": "0", "beta": "0"},
        "clean images are distilled, too": {"clean_too": "true"},
        "no feature norm": {"lam_n": "0"},
    },
    "confused sample": {
        "attacked back (AGKD-BML)": {"confused": "adv_mc"},
        "nearest of another class (TLA)": {"confused": "nearest"},
    },
    "layers": {
        "distils the last stage only": {"distil_stages": "-1"},
        "distils the last stage but one only": {"distil_stages": "-2"},
        "metric on the last stage": {"metric_stages": "-1"},
        "metric on the last two stages": {"metric_stages": "-2,-1"},
        "metric on the penultimate features": {"pooling": "penultimate"},
        "metric on flat feature maps": {"pooling": "flat"},
    },
    "distances": {
        "distillation of unit channels": {"distillation": "l2norm"},
        "distillation by cosine": {"distillation": "cos"},
        "distillation of attention (AGKD-BML)": {"distillation": "attention"},
        "metric of squared distances": {"distance": "l2"},
        "metric moves x' alone": {"detach": "true"},
    },
    "weights": {
        "alpha 0.1": {"alpha": "0.1"},
        "alpha 10": {"alpha": "10"},
        "beta 0.5": {"beta": "0.5"},
        "beta 8": {"beta": "8"},
        "margin 0": {"margin": "0"},
        "margin 0.1": {"margin": "0.1"},
        "margin 0.3": {"margin": "0.3"},
    },
    "teacher and start": {
        "robust teacher": {"teacher": "pgd_at"},
        "student from the teacher's weights": {"init_from_teacher": "true"},
    },
    "training": {
        "targeted inner attack": {"target": "most_confusing"},
        "a forward for each branch": {"joint": "false"},
        "label smoothing 0.1": {"label_smoothing": "0.1"},
    },
}

DBP: Mapping[str, Rows] = {
    "purifier": {
        "student without teachers": {"purifier": "undistilled"},
        "adversarial teacher alone": {"purifier": "adversarial"},
        "restoring teacher alone": {"purifier": "restoring"},
        "denoising autoencoder (MagNet)": {"purifier": "denoising"},
        "no purifier": {"purifier": "none"},
    },
    "distillation": {
        "one averaged target": {"routing": "ensemble"},
        "from the adversarial teacher only": {"w_a": "1", "w_n": "0"},
        "from the restoring teacher only": {"w_a": "0", "w_n": "1"},
        "a 0.25": {"a": "0.25"},
        "a 0.75": {"a": "0.75"},
        "a 1 (targets alone)": {"a": "1"},
        "codes are matched, too": {"feat": "1"},
    },
    "losses": {
        "with the classifier's cross-entropy": {"task": "1"},
        "adversarial teacher sees clean images, too": {"clean_weight": "1"},
    },
    "network": {
        "skip connections": {"skip": "true"},
        "student of half the width": {"half": "true"},
    },
    "inner attack": {
        "FGSM": {"attack": "fgsm"},
        "PGD and FGSM": {"attack": "both"},
        "through the purifier": {"attack_through": "purifier"},
    },
}

TLA: Mapping[str, Rows] = {
    "triplet": {
        "no triplet (PGD training)": {"lam1": "0"},
        "switched anchor (TLA-SA)": {"anchor": "clean"},
        "positive: the image itself only": {"positives": "own"},
        "positive: another image only": {"positives": "other"},
        "no noise on the positive": {"noise": "0"},
    },
    "negative": {
        "random negative (TLA-RN)": {"negative": "random"},
        "pool of 1": {"pool": "1"},
        "pool of 50": {"pool": "50"},
        "pool of 250": {"pool": "250"},
        "pool of 1000": {"pool": "1000"},
        "pool of 2000": {"pool": "2000"},
    },
    "distance": {
        "squared distance, margin 1": {"distance": "l2", "margin": "1"},
        "symmetric KL, margin 5": {"distance": "kl", "margin": "5"},
    },
    "weights": {
        "lam1 0.5": {"lam1": "0.5"},
        "lam1 8": {"lam1": "8"},
        "lam2 0": {"lam2": "0"},
        "lam2 0.01": {"lam2": "0.01"},
        "margin 0": {"margin": "0"},
        "margin 0.1": {"margin": "0.1"},
        "margin 0.3": {"margin": "0.3"},
        "with feature pairing 0.5": {"match": "0.5"},
    },
    "labels and start": {
        "label smoothing 0.1": {"label_smoothing": "0.1"},
        "from a network trained by PGD": {"init_from_at": "true"},
    },
}

ALP: Mapping[str, Rows] = {
    "pairing": {
        "weight 0 (M-PGD)": {"weight": "0"},
        "weight 0.25": {"weight": "0.25"},
        "weight 1": {"weight": "1"},
        "sum over the classes": {"reduction": "sum"},
        "x' alone learns from the pair": {"detach_clean": "true"},
    },
    "cross-entropy": {
        "of clean images only": {"mix": "plain"},
        "of clean images only, weight 0": {"mix": "plain", "weight": "0"},
        "of adversarial images only": {"mix": "100"},
        "of adversarial images only, weight 0": {"mix": "100", "weight": "0"},
        "label smoothing 0.1": {"label_smoothing": "0.1"},
    },
    "distance": {
        "L2": {"distance": "l2"},
        "L1": {"distance": "l1"},
        "cosine": {"distance": "cos"},
    },
    "inner attack": {
        "towards the least likely class": {"target": "least_likely"},
        "towards a random class": {"target": "random"},
        "away from the predicted class": {"label": "pred"},
        # what Mosbach et al. and Engstrom et al. broke
        "least likely class, cross-entropy of clean images only": {"target": "least_likely", "mix": "plain"},
    },
}

AALP: Mapping[str, Rows] = {
    "modules": {
        "guided dropout alone": {"weighting": "none"},
        "sample weights alone": {"dropout": "none"},
        "neither (ALP)": {"dropout": "none", "weighting": "none"},
        "no pairing": {"weight": "0"},
    },
    "dropout": {
        "random dropout of the same rate": {"dropout": "random"},
        "reverse: the strongest are dropped": {"dropout": "reverse"},
        "rho 0.25": {"rho": "0.25"},
        "rho 0.75": {"rho": "0.75"},
        "q 0.25": {"q": "0.25"},
        "q 1 (hard top-k)": {"q": "1"},
        "a mask each for x and x'": {"mask_of": "own"},
        "no rescaling": {"rescale": "false"},
        "contribution: its size": {"contribution": "abs"},
        "contribution: to the margin": {"contribution": "margin"},
        "inner attack sees the mask": {"attack_with_mask": "true"},
    },
    "sample weights": {
        "of the clean image": {"weighting": "clean"},
        "of correctness": {"weighting": "correct"},
        "of the loss": {"weighting": "loss"},
        "gamma 0.5": {"gamma": "0.5"},
        "gamma 2": {"gamma": "2"},
        "not normalized": {"normalize_weights": "false"},
    },
    "pairing": {
        "weight 0.25": {"weight": "0.25"},
        "weight 1": {"weight": "1"},
    },
}

LBGAT: Mapping[str, Rows] = {
    "weights": {
        "with TRADES' divergence, 1": {"beta": "1"},
        "with TRADES' divergence, 6 (LBGAT6)": {"beta": "6"},
    },
    "inner attack": {
        "1 step": {"steps": "1", "step_size": "1"},
        "5 steps": {"steps": "5"},
    },
}

IKL_AT: Mapping[str, Rows] = {
    "divergence": {
        "wMSE reaches z(x) alone, as in KL": {"symmetric": "false"},
        "weights of each image, as in KL": {"weights": "sample"},
        "neither (KL, decoupled)": {"symmetric": "false", "weights": "sample"},
    },
    "weights": {
        "no wMSE": {"beta": "0"},
        "beta 5": {"beta": "5"},
        "beta 10": {"beta": "10"},
        "no cross-entropy of x'": {"alpha": "0"},
        "alpha 1": {"alpha": "1"},
        "t 1": {"t": "1"},
        "t 2": {"t": "2"},
    },
    "inner attack": {
        "2 steps": {"steps": "2", "step_size": "1"},
        "10 steps of 1/4": {"steps": "10", "step_size": "1/4"},
    },
}

SCORE: Mapping[str, Rows] = {
    "weights": {
        "beta 2": {"beta": "2"},
        "beta 4": {"beta": "4"},
        "beta 6": {"beta": "6"},
    },
    "what is punished": {
        "distances above 0.1 only": {"clip": "0.1"},
        "distances above 0.2 only": {"clip": "0.2"},
        "label smoothing 0.1": {"label_smoothing": "0.1"},
    },
}

FREE_AT: Mapping[str, Rows] = {
    "replays": {
        "no replays": {"replays": "1"},
        "2 replays": {"replays": "2"},
        "8 replays": {"replays": "8"},
    },
    "inner attack": {
        "steps of 1/4": {"step_size": "1/4"},
    },
}

ABLATIONS: Mapping[str, Mapping[str, Rows]] = {
    "aalp": AALP,
    "agkd_bml": AGKD_BML,
    "alp": ALP,
    "dbp": DBP,
    "fdml": FDML,
    "free_at": FREE_AT,
    "ikl_at": IKL_AT,
    "lbgat": LBGAT,
    "score": SCORE,
    "tla": TLA,
}
"""By the name of the defense."""
