"""Every defense by name; this table is the index of the folder."""

DEFENSES = {
    "agkd_bml": "defenses.agkd_bml:AgkdBml",
    "agkd_bml_7": "defenses.agkd_bml:AGKD_BML_7",
    "agkd_bml_paper": "defenses.agkd_bml:AGKD_BML_PAPER",
    "agkd_bml_released": "defenses.agkd_bml:AGKD_BML_RELEASED",
    "awp": "defenses.awp:Awp",
    "fast_at": "defenses.fast_at:FGSM_RS",
    "fdml": "defenses.fdml:Fdml",
    "mart": "defenses.mart:Mart",
    "n_fgsm": "defenses.fast_at:N_FGSM",
    "pgd_at": "defenses.pgd_at:PgdAt",
    "standard": "defenses.standard:Standard",
    "tla": "defenses.tla:Tla",
    "tla_rn": "defenses.tla:TLA_RN",
    "tla_sa": "defenses.tla:TLA_SA",
    "trades": "defenses.trades:Trades",
}
