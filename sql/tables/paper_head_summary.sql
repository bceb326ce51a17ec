-- One row per model and head: the means that the paper's authors published.
-- On each head's top rows (by direct_effect), resample ablation, The Pile: computed from tensors in
-- the authors' public repository, github.com/starship006/backup_research (folder
-- FINAL_figure_files/pickle_storage). sql/data/paper_head_summary.csv holds them.
create table paper_head_summary (
    model varchar not null,
    top_fraction double not null,
    layer smallint not null,
    head smallint not null,
    direct_effect double not null,
    direct_effect_ablated double not null,
    logit_change double not null,
    self_repair_from_heads double not null,
    self_repair_from_mlps double not null,
    self_repair_from_layernorm double not null,
    layernorm_fraction_clipped double not null,
    heads_fraction_clipped double not null,
    mlps_fraction_clipped double not null
);
