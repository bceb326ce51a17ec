-- One row per ablation, ablated head and kept position: who changed downstream, and by how much.
-- Kept are the head's top rows by direct_effect. A change is the component's direct effect on the
-- ablated run less that on the clean one, both with the clean scale S. Only downstream components
-- are listed, by layer and then by head; view component_repairs names them. Section 2.1 sums them.
create table component_changes (
    run_id varchar not null,
    ablation varchar not null,
    layer smallint not null,
    head smallint not null,
    sequence integer not null,
    position integer not null,
    head_changes float[] not null,
    mlp_changes float[] not null
);
