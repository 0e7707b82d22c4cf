"""The names that encoded values have in ids and records, and where their classes live today.

A class may move and be renamed: its line in PLACES changes, its name stays, and so do the ids of all results
(docs/adr/0011-names-and-content.md). Only strings are here; nothing is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TYPE_KEY = "is"
"""The key under which an encoded value says what it is."""

PLACES: Mapping[str, str] = {
    "attack/apgd": "bench.attacks.apgd:APGD",
    "attack/apgd_targeted": "bench.attacks.apgd:TargetedAPGD",
    "attack/autoattack": "bench.attacks.others.autoattack:AutoAttackComponent",
    "attack/cascade": "bench.attacks.combine:Cascade",
    "attack/ddn": "bench.attacks.ddn:DDN",
    "attack/detector_aware": "bench.attacks.aware:DetectorAware",
    "attack/fab": "bench.attacks.fab:FAB",
    "attack/feature_matching": "bench.attacks.feature_matching:FeatureMatching",
    "attack/fgsm": "bench.attacks.fgsm:FGSM",
    "attack/fmn": "bench.attacks.fmn:FMN",
    "attack/hop_skip_jump": "bench.attacks.hop_skip_jump:HopSkipJump",
    "attack/ladder": "bench.attacks.fast:Ladder",
    "attack/mi_fgsm": "bench.attacks.mi_fgsm:MIFGSM",
    "attack/nes": "bench.attacks.nes:NES",
    "attack/noise": "bench.attacks.noise:UniformNoise",
    "attack/pgd": "bench.attacks.pgd:PGD",
    "attack/probe": "bench.attacks.fast:Probe",
    "attack/rays": "bench.attacks.rays:RayS",
    "attack/restart_scout": "bench.attacks.scouts:RestartScout",
    "attack/restarts": "bench.attacks.combine:Restarts",
    "attack/search_scout": "bench.attacks.scouts:SearchScout",
    "attack/siege": "bench.attacks.fast:Siege",
    "attack/simba": "bench.attacks.simba:SimBA",
    "attack/square": "bench.attacks.square:Square",
    "attack/target_scout": "bench.attacks.scouts:TargetScout",
    "attack/transfer_fgsm": "bench.attacks.transfer:TransferFGSM",
    "budget": "bench.core.threat:Budget",
    "defense/aalp": "defenses.aalp:Aalp",
    "defense/agkd_bml": "defenses.agkd_bml:AgkdBml",
    "defense/agkd_bml_in_tables": "defenses.agkd_bml:AgkdBmlInTables",
    "defense/alp": "defenses.alp:Alp",
    "defense/ard": "defenses.ard:Ard",
    "defense/awp": "defenses.awp:Awp",
    "defense/bilateral": "defenses.bilateral:Bilateral",
    "defense/bit_depth": "defenses.transformations:BitDepth",
    "defense/clp": "defenses.alp:Clp",
    "defense/dbp": "defenses.dbp:Dbp",
    "defense/ensemble": "defenses.ensemble:Ensemble",
    "defense/ensemble_at": "defenses.ensemble_at:EnsembleAt",
    "defense/fast_at": "defenses.fast_at:FastAt",
    "defense/fdml": "defenses.fdml:Fdml",
    "defense/feature_scattering": "defenses.feature_scattering:FeatureScattering",
    "defense/free_at": "defenses.free_at:FreeAt",
    "defense/loaded": "defenses.loaded:Loaded",
    "defense/gaussian": "defenses.gaussian:Gaussian",
    "defense/ibp": "defenses.ibp:Ibp",
    "defense/ikl_at": "defenses.ikl_at:IklAt",
    "defense/jpeg": "defenses.transformations:Jpeg",
    "defense/lbgat": "defenses.lbgat:Lbgat",
    "defense/lsq": "defenses.alp:Lsq",
    "defense/mart": "defenses.mart:Mart",
    "defense/pgd_at": "defenses.pgd_at:PgdAt",
    "defense/random_resize": "defenses.transformations:RandomResize",
    "defense/score": "defenses.score:Score",
    "defense/standard": "defenses.standard:Standard",
    "defense/tla": "defenses.tla:Tla",
    "defense/total_variation": "defenses.transformations:TotalVariation",
    "defense/trades": "defenses.trades:Trades",
    "detector/energy": "bench.evaluate.detectors:Energy",
    "detector/gmm": "bench.evaluate.detectors:ClassMixture",
    "detector/knn": "bench.evaluate.detectors:KNearest",
    "detector/lid": "bench.evaluate.detectors:LocalDimension",
    "detector/mahalanobis": "bench.evaluate.detectors:Mahalanobis",
    "detector/max_softmax": "bench.evaluate.detectors:MaxSoftmax",
    "grid": "bench.studies.shift.spatial:Grid",
    "knowledge": "bench.core.threat:Knowledge",
    "nearest": "bench.evaluate.nearest:Nearest",
    "numerics": "bench.evaluate.numerics:Numerics",
    "protocol": "bench.suites.detection:Protocol",
    "recipe": "bench.train.recipe:Recipe",
    "sampling": "bench.studies.certify.plan:Sampling",
    "scout": "bench.evaluate.follow_up:Scout",
    "sequel": "bench.evaluate.follow_up:FollowUp",
    "suite": "bench.api:Suite",
    "trial": "bench.api:Trial",
}
"""Name -> "module:Class", where it is now."""

LIBRARIES: Mapping[str, str] = {
    "attack/advlib": "bench.attacks.others.advlib",
    "attack/art": "bench.attacks.others.art",
    "attack/foolbox": "bench.attacks.others.foolbox",
    "attack/torchattacks": "bench.attacks.others.torchattacks",
}
"""NAME of `NAME:CLASS` -> the module, where it is now, that makes a dataclass of that library's CLASS."""

FORMER: Mapping[str, str] = {
    "bench.api:Suite": "suite",
    "bench.api:Trial": "trial",
    "bench.attacks.apgd:APGD": "attack/apgd",
    "bench.attacks.apgd:TargetedAPGD": "attack/apgd_targeted",
    "bench.attacks.aware:DetectorAware": "attack/detector_aware",
    "bench.attacks.combine:Cascade": "attack/cascade",
    "bench.attacks.combine:Restarts": "attack/restarts",
    "bench.attacks.ddn:DDN": "attack/ddn",
    "bench.attacks.fab:FAB": "attack/fab",
    "bench.attacks.fast:Ladder": "attack/ladder",
    "bench.attacks.fast:Probe": "attack/probe",
    "bench.attacks.fast:Siege": "attack/siege",
    "bench.attacks.feature_matching:FeatureMatching": "attack/feature_matching",
    "bench.attacks.fgsm:FGSM": "attack/fgsm",
    "bench.attacks.fmn:FMN": "attack/fmn",
    "bench.attacks.hop_skip_jump:HopSkipJump": "attack/hop_skip_jump",
    "bench.attacks.mi_fgsm:MIFGSM": "attack/mi_fgsm",
    "bench.attacks.nes:NES": "attack/nes",
    "bench.attacks.noise:UniformNoise": "attack/noise",
    "bench.attacks.others.autoattack:AutoAttackComponent": "attack/autoattack",
    "bench.attacks.pgd:PGD": "attack/pgd",
    "bench.attacks.rays:RayS": "attack/rays",
    "bench.attacks.simba:SimBA": "attack/simba",
    "bench.attacks.square:Square": "attack/square",
    "bench.attacks.transfer:TransferFGSM": "attack/transfer_fgsm",
    "bench.core.threat:Budget": "budget",
    "bench.core.threat:Knowledge": "knowledge",
    "bench.evaluate.detectors:ClassMixture": "detector/gmm",
    "bench.evaluate.detectors:Energy": "detector/energy",
    "bench.evaluate.detectors:KNearest": "detector/knn",
    "bench.evaluate.detectors:LocalDimension": "detector/lid",
    "bench.evaluate.detectors:Mahalanobis": "detector/mahalanobis",
    "bench.evaluate.detectors:MaxSoftmax": "detector/max_softmax",
    "bench.evaluate.nearest:Nearest": "nearest",
    "bench.evaluate.oracle:Numerics": "numerics",
    "bench.evaluate.sequel:Sequel": "sequel",
    "bench.evaluate.spatial:Grid": "grid",
    "bench.suites.detection:Protocol": "protocol",
    "bench.train.recipe:Recipe": "recipe",
    "defenses.aalp:Aalp": "defense/aalp",
    "defenses.agkd_bml:AgkdBml": "defense/agkd_bml",
    "defenses.alp:Alp": "defense/alp",
    "defenses.alp:Clp": "defense/clp",
    "defenses.alp:Lsq": "defense/lsq",
    "defenses.ard:Ard": "defense/ard",
    "defenses.awp:Awp": "defense/awp",
    "defenses.bilateral:Bilateral": "defense/bilateral",
    "defenses.dbp:Dbp": "defense/dbp",
    "defenses.ensemble:Ensemble": "defense/ensemble",
    "defenses.fast_at:FastAt": "defense/fast_at",
    "defenses.fdml:Fdml": "defense/fdml",
    "defenses.feature_scattering:FeatureScattering": "defense/feature_scattering",
    "defenses.loaded:Loaded": "defense/loaded",
    "defenses.mart:Mart": "defense/mart",
    "defenses.pgd_at:PgdAt": "defense/pgd_at",
    "defenses.standard:Standard": "defense/standard",
    "defenses.tla:Tla": "defense/tla",
    "defenses.trades:Trades": "defense/trades",
}
"""The names under which these were first published -> their names. It never changes: ids hang on it."""

FORMER_LIBRARIES: Mapping[str, str] = {
    "bench.attacks.others.advlib": "attack/advlib",
    "bench.attacks.others.art": "attack/art",
    "bench.attacks.others.foolbox": "attack/foolbox",
    "bench.attacks.others.torchattacks": "attack/torchattacks",
}
"""The same for what stands before the colon of libraries' attacks."""

_NAMES = {place: name for name, place in PLACES.items()}
_LIBRARY_NAMES = {module: name for name, module in LIBRARIES.items()}
_FIRST = {name: former for former, name in FORMER.items()}
_FIRST_LIBRARIES = {name: former for former, name in FORMER_LIBRARIES.items()}


def name_at(place: str) -> str:
    """The name of the class at "module:Class"; of a class that the table does not hold, the place itself.

    >>> name_at("bench.attacks.pgd:PGD"), name_at("bench.attacks.others.torchattacks:CW"), name_at("my:Net")
    ('attack/pgd', 'attack/torchattacks:CW', 'my:Net')
    """
    return _renamed(place, _NAMES, _LIBRARY_NAMES)


def current(name: str) -> str:
    """The name that something has now, from that or a former one; any other stays as it is.

    >>> current("bench.attacks.fgsm:FGSM"), current("attack/fgsm"), current("my:Net")
    ('attack/fgsm', 'attack/fgsm', 'my:Net')
    """
    return _renamed(name, FORMER, FORMER_LIBRARIES)


def place_of(name: str) -> str | None:
    """ "module:Class" of something that the table holds, by its name or a former one; None: it holds none.

    >>> place_of("bench.attacks.fgsm:FGSM"), place_of("attack/foolbox:VirtualAdversarialAttack")
    ('bench.attacks.fgsm:FGSM', 'bench.attacks.others.foolbox:VirtualAdversarialAttack')
    >>> place_of("os:system") is None
    True
    """
    known = current(name)
    found = _renamed(known, PLACES, LIBRARIES)
    return None if found == known else found


def class_of(name: str) -> str:
    """The name of the class behind an encoded name, without its module.

    >>> class_of("attack/mi_fgsm"), class_of("bench.attacks.mi_fgsm:MIFGSM"), class_of("my:Net")
    ('MIFGSM', 'MIFGSM', 'Net')
    """
    return (place_of(name) or name).rpartition(":")[2]


def as_published(data: Any) -> Any:
    """Encoded data with every name as it was first published: what identity is computed over.

    >>> as_published({"is": "budget", "eps": "1/10"}) == as_published({**{"is": "bench.core.threat:Budget"},
    ...     "eps": "1/10"})
    True
    """
    if isinstance(data, dict):
        return {key: _first(key, value) for key, value in data.items()}
    return [as_published(item) for item in data] if isinstance(data, (list, tuple)) else data


def _first(key: str, value: Any) -> Any:
    if key == TYPE_KEY and isinstance(value, str):
        return _renamed(current(value), _FIRST, _FIRST_LIBRARIES)
    return as_published(value)


def _renamed(name: str, whole: Mapping[str, str], libraries: Mapping[str, str]) -> str:
    """The name by the first table, or with what stands before its colon by the second."""
    if name in whole:
        return whole[name]
    library, colon, offered = name.partition(":")
    return f"{libraries[library]}:{offered}" if colon and library in libraries else name
