-- One row per ranking, ablation, chosen head and kept position: every neuron of the last MLP layer.
-- Chosen heads only. Kept are the head's top rows by direct_effect, and those by mlp_repair; a
-- position may be in both. The lists are by neuron, from 0; view neuron_ablations has a row for
-- each. A neuron's direct effect is act_n * (W_out[n] . u_t) / S, with the clean scale S.
-- Fig. 7 and 12-15, section 4.2.2.
create table neuron_changes (
    run_id varchar not null,
    ranking varchar not null,
    ablation varchar not null,
    layer smallint not null,
    head smallint not null,
    sequence integer not null,
    position integer not null,
    direct_effects float[] not null,
    direct_effects_ablated float[] not null
);
