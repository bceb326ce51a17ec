-- One value per row: the LayerNorm's part of self-repair as it is measured, not as the rest.
-- (x_ablated . u_t) * (1/S' - 1/S), section 3.2 of the paper, where
-- x_ablated . u_t = S' * (logit + logit_change - logit_bias). It agrees with
-- self_repair_from_layernorm on every row, which is what the check decomposition_identity says.
-- logit and logit_bias are the token's: join tokens using (run_id, sequence, position).
create macro layernorm_repair_measured(logit, logit_bias, logit_change, ln_scale, ln_scale_ablated)
    as (logit::double + logit_change - logit_bias) * (1 - ln_scale_ablated::double / ln_scale)
