"""Everything that Dagster shows and runs, listed by name."""

import dagster as dg

from selfrepair_assets.assets.checks import checks, checks_of_closer_looks
from selfrepair_assets.assets.clean_run import clean_run
from selfrepair_assets.assets.closer_looks import neuron_changes, self_reinforcement
from selfrepair_assets.assets.head_ablations import head_ablations
from selfrepair_assets.assets.published import runs, views
from selfrepair_assets.assets.resources import WarehouseResource
from selfrepair_assets.assets.run_spec import run_spec, sequences

ASSETS = [
    run_spec,
    sequences,
    clean_run,
    head_ablations,
    neuron_changes,
    self_reinforcement,
    runs,
    views,
]
CHECKS = [checks, checks_of_closer_looks]

measure_model = dg.define_asset_job(
    "measure_model",
    selection=dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks(),
    description="A model's name in, a published run out: everything, for one partition.",
)
publish_run = dg.define_asset_job(
    "publish_run",
    selection=dg.AssetSelection.assets("runs").downstream() | dg.AssetSelection.groups("views"),
    description="Publish a measured run again, for example after its views have changed.",
)

defs = dg.Definitions(
    assets=ASSETS,
    asset_checks=CHECKS,
    jobs=[measure_model, publish_run],
    resources={"store": WarehouseResource()},
    executor=dg.in_process_executor,  # the model is loaded once; a cluster brings its own
)
