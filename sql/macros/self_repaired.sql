-- One value per row: its self-repair, eq. (1) of the paper, in double precision.
create macro self_repaired(logit_change, direct_effect, direct_effect_ablated) as
    logit_change::double - direct_effect_ablated + direct_effect
