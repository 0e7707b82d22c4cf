"""Every defense by name; this table is the index of the folder."""

SCHEMES = {
    "hf:REPO": "defenses.loaded:from_hub",
    "robustbench:NAME": "defenses.loaded:from_zoo",
    "timm:NAME": "defenses.loaded:from_library",
    "torchvision:NAME": "defenses.loaded:from_library",
}
"""Names with a free part: what they lead to is called with the whole name."""

DEFENSES = {
    "aalp": "defenses.aalp:Aalp",
    "agkd_bml": "defenses.agkd_bml:AgkdBml",
    "agkd_bml_7": "defenses.agkd_bml:AGKD_BML_7",
    "agkd_bml_paper": "defenses.agkd_bml:AGKD_BML_PAPER",
    "agkd_bml_released": "defenses.agkd_bml:AGKD_BML_RELEASED",
    "alp": "defenses.alp:Alp",
    "alp_100": "defenses.alp:ALP_100",
    "alp_plain": "defenses.alp:ALP_PLAIN",
    "ard": "defenses.ard:Ard",
    "awp": "defenses.awp:Awp",
    "bilateral": "defenses.bilateral:Bilateral",
    "clp": "defenses.alp:Clp",
    "dbp": "defenses.dbp:Dbp",
    "dbp_none": "defenses.dbp:DBP_NONE",
    "dbp_teacher_adversarial": "defenses.dbp:DBP_TEACHER_ADVERSARIAL",
    "dbp_teacher_restoring": "defenses.dbp:DBP_TEACHER_RESTORING",
    "dbp_undistilled": "defenses.dbp:DBP_UNDISTILLED",
    "ensemble": "defenses.ensemble:Ensemble",
    "fast_at": "defenses.fast_at:FGSM_RS",
    "fdml": "defenses.fdml:Fdml",
    "feature_scattering": "defenses.feature_scattering:FeatureScattering",
    "loaded": "defenses.loaded:Loaded",
    "lsq": "defenses.alp:Lsq",
    "m_pgd": "defenses.alp:M_PGD",
    "mart": "defenses.mart:Mart",
    "n_fgsm": "defenses.fast_at:N_FGSM",
    "pgd_at": "defenses.pgd_at:PgdAt",
    "standard": "defenses.standard:Standard",
    "tla": "defenses.tla:Tla",
    "tla_rn": "defenses.tla:TLA_RN",
    "tla_sa": "defenses.tla:TLA_SA",
    "trades": "defenses.trades:Trades",
}
