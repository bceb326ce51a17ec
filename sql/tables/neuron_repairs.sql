-- One row per ablation, ablated head and kept position: what the last MLP layer's neurons did.
-- Kept are the head's top rows by direct_effect. A neuron's direct effect is
-- act_n * (W_out[n] . u_t) / S with the clean scale S; its change is ablated minus clean, and it
-- repairs where its change has the sign of the head's direct effect. The lists begin with the most
-- repairing neuron. Where the last MLP layer is not downstream they are empty, and the numbers 0.
-- cumulative_share has the share of absolute_change of the first n neurons in that order, for the
-- numbers n of cumulative_share_counts: every hundredth of the layer and each of the last 50.
-- Sections 4.2 and 4.2.1, Fig. 8 and 12-15.
create table neuron_repairs (
    run_id varchar not null,
    ablation varchar not null,
    layer smallint not null,
    head smallint not null,
    sequence integer not null,
    position integer not null,
    neurons integer[] not null,
    direct_effects float[] not null,
    direct_effects_ablated float[] not null,
    net_change float not null,
    positive_change float not null,
    absolute_change float not null,
    negligible_counts integer[] not null,
    cumulative_share float[] not null
);
