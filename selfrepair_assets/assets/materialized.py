"""What is materialized, and checked, to measure and publish a model."""

from selfrepair_assets.assets.checks import checks, checks_of_closer_looks
from selfrepair_assets.assets.clean_run import clean_run
from selfrepair_assets.assets.closer_looks import neuron_changes, self_reinforcement
from selfrepair_assets.assets.head_ablations import head_ablations
from selfrepair_assets.assets.published import runs
from selfrepair_assets.assets.run_spec import run_spec, sequences

ASSETS = [
    run_spec,
    sequences,
    clean_run,
    head_ablations,
    neuron_changes,
    self_reinforcement,
    runs,
]
CHECKS = [checks, checks_of_closer_looks]
