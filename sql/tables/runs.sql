-- One row per run: one model measured on one text with one set of options.
-- Everything that decides a run's numbers is here; section 3 of the paper is its protocol.
-- options has all of them, as they are typed after `selfrepair run`, which explains each with
-- --help: options['neuron_heads']. Null in runs of older versions.
-- Logits are those before a final cap (final_cap * tanh(logit / final_cap); null: there is none),
-- with the model's constant factor logit_scale in them. post_norm says whether there is a norm
-- between attention and residual stream. All three are null in runs of older versions, none of
-- which has a model with post-norms, a cap or a factor.
-- A run may be published before it is measured to the end: all that is said of it is then said of
-- its first n_sequences_measured sequences, a random sample of the run's as if it had no others.
-- weights_sha256 is of all stored tensors, names and values; null in runs of older versions.
-- precision_error is what was seen of bf16 or tf32: on a sample before the run and on some rows of
-- every shard, all together, of the worst ablation. A layer is in bf16 in the end if that stayed
-- below 0.95 % after every shard, so that over all rows it is below 1 %, and in tf32 if below a
-- quarter of that. Where bf16 is asked for and too coarse, and on a GPU always, a layer is in
-- bf16_fp32 (bf16 products whose sums stay in fp32) within the same bound. Of a layer in fp32, it
-- is the error for which it is, and not one that its rows have. Null where fp32 was asked for.
create table runs (
    run_id varchar not null,
    model varchar not null,
    revision varchar,
    weights_sha256 varchar,
    architecture varchar not null,
    normalization varchar not null,
    parallel_attention boolean not null,
    post_norm boolean,
    final_cap double,
    logit_scale double,
    n_layers integer not null,
    n_heads integer not null,
    d_model integer not null,
    d_mlp integer not null,
    d_vocab integer not null,
    corpus varchar not null,
    sequence_length integer not null,
    n_sequences integer not null,
    n_sequences_measured integer,
    stopped_by varchar,
    n_tokens bigint not null,
    sample varchar,
    drawn_from varchar,
    ablations varchar[] not null,
    heads varchar[],
    precision varchar not null,
    layer_precision varchar[] not null,
    precision_error float[],
    engine varchar not null,
    device varchar not null,
    seed bigint not null,
    top_fraction double not null,
    center_unembed boolean not null,
    options map(varchar, varchar),
    versions map(varchar, varchar) not null,
    started_at timestamptz not null,
    finished_at timestamptz not null
);
