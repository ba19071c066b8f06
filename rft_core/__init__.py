"""rft-engine: reinforcement fine-tuning from a data file, a grader and an open model.

`rft_core` is the small core: the types, the protocols that components implement, the plugin
registry, the run file, the loop, the journal and the clients of remote workers. It never imports
torch; everything that computes is a component from an installed plugin.

Plugin authors import from here:

    from rft_core import Grade, GraderSpec, Group, hookimpl
"""

from rft_core.errors import RftError
from rft_core.hookspecs import hookimpl
from rft_core.protocols import DataSource, Grader, ModelSource, Observer, Optimizer, Sampler
from rft_core.specs import (
    BuildContext,
    CommandSpec,
    ComponentConfig,
    DataSourceSpec,
    GraderSpec,
    ModelSourceSpec,
    ObserverSpec,
    OptimizerPartSpec,
    OptimizerSpec,
    Part,
    SamplerSpec,
)
from rft_core.types import (
    Grade,
    GradedGroup,
    Group,
    Item,
    ModelRef,
    Outcome,
    Rollout,
    SampledUnit,
    SampleUnit,
    SamplingParams,
    Segment,
    TokenUsage,
    TrainBatch,
    TrainReport,
    WeightRef,
)

__version__ = "0.1.0"

__all__ = [
    "BuildContext",
    "CommandSpec",
    "ComponentConfig",
    "DataSource",
    "DataSourceSpec",
    "Grade",
    "GradedGroup",
    "Grader",
    "GraderSpec",
    "Group",
    "Item",
    "ModelRef",
    "ModelSource",
    "ModelSourceSpec",
    "Observer",
    "ObserverSpec",
    "Optimizer",
    "OptimizerPartSpec",
    "OptimizerSpec",
    "Outcome",
    "Part",
    "RftError",
    "Rollout",
    "SampleUnit",
    "SampledUnit",
    "Sampler",
    "SamplerSpec",
    "SamplingParams",
    "Segment",
    "TokenUsage",
    "TrainBatch",
    "TrainReport",
    "WeightRef",
    "__version__",
    "hookimpl",
]
