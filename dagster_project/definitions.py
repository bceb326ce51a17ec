"""Everything that Dagster shows and runs."""

import dagster as dg

from selfrepair_assets.assets.answers import answers
from selfrepair_assets.assets.materialized import ASSETS, CHECKS
from selfrepair_assets.assets.resources import WarehouseResource

measure_model = dg.define_asset_job(
    "measure_model",
    selection=dg.AssetSelection.assets(*ASSETS) | dg.AssetSelection.all_asset_checks(),
    description="Measure a model and publish it: everything, for one partition, which is its name.",
)
publish_run = dg.define_asset_job(
    "publish_run",
    selection=dg.AssetSelection.assets("runs"),
    description="Publish a measured run again, for example after a view of sql/ has changed.",
)

defs = dg.Definitions(
    assets=[*ASSETS, *answers()],
    asset_checks=CHECKS,
    jobs=[measure_model, publish_run],
    resources={"store": WarehouseResource()},
    executor=dg.in_process_executor,  # the model is loaded once; a cluster brings its own
)
