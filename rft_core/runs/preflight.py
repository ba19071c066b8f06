"""Checks of a stage that cost seconds and save hours: is the model there, does the grader run at all.

Part of `rft-engine validate`. Nothing is downloaded or made, and no model is loaded. The grader is
asked about a few rows, each with answers that anyone could have given: in this process, or by a worker
where the run file names workers elsewhere or another environment.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rft_core.boundary import clean_text
from rft_core.config.run_file import RunConfig, RunFile
from rft_core.errors import DataError, ModelError, RftError, RunDirError
from rft_core.hosting import GraderHost
from rft_core.model_folders import find_language_model, folder_problems, shape_of
from rft_core.pools.pool import open_pool
from rft_core.protocols import DataSource
from rft_core.registry import Registry
from rft_core.rows import prompt_text
from rft_core.runs.assembly import is_deterministic, model_of, other_models, refuse_scorer
from rft_core.runs.checks.rules_failures import MOST_FAILED_PAID
from rft_core.runs.hosted import Sources
from rft_core.runs.starting_model import check_same_model, init_path, start_weights
from rft_core.specs import BuildContext, OptimizerSpec
from rft_core.storage.rundir import RunDir
from rft_core.types import Grade, GradedUnit, GradeUnit, Group, Item, ModelRef, Outcome, Rollout

TRIAL_ROWS = 8
TRIAL_TIMEOUT_S = 3.0
"""Longest that the grader may take over one trial row."""
TRIAL_KEYS = 4
"""Most keys of a row whose values are tried as answers."""
MAX_SHOWN = 400
"""Most characters of a setting in an error."""
MAY_DIFFER = {"device", "dtype"}
"""Settings of a model that leave it the same model."""
PRETRAINED = "pretrained"


@dataclass(kw_only=True)
class Findings:
    """What stops the run, and what the user should know."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_model(registry: Registry, config: RunConfig, base_dir: Path) -> Findings:
    """Whether the files that `model` and `init_from` name are there, and fit each other. Other model sources are not
    asked."""
    found = Findings()
    path = config.model.get("path")
    if config.model.get("type") == "pretrained" and isinstance(path, str):
        local = (base_dir / Path(path).expanduser()).resolve()
        if local.is_dir():
            found.errors += [f"model.path: {problem}" for problem in folder_problems(local)]
            found.errors += _scores(registry, config, local)
        elif path.startswith((".", "/", "~")) or path.count("/") > 1:
            found.errors.append(f"model.path: there is no model folder {local}; give a folder or a hub id")
        else:
            found.warnings.append(f"the model '{path}' is no folder here, so the run will fetch it from the hub")
    if config.init_from is not None:
        try:
            weights = start_weights(config.init_from, base_dir)
            refuse_scorer(registry, config, model_of(weights, ModelRef(path=base_dir)))
            _compare_models(found, registry, config, weights, base_dir)
            if not found.errors and (folder := _folder(config.model, base_dir)):
                check_same_model(weights, folder)
        except ModelError as error:
            found.errors.append(str(error))
    return found


def _scores(registry: Registry, config: RunConfig, folder: Path) -> Iterator[str]:
    try:
        refuse_scorer(registry, config, ModelRef(path=folder))
    except ModelError as error:
        yield f"model.path: {error}"


def missing_models(registry: Registry, run_file: RunFile, number: int) -> Iterator[str]:
    """A sentence for each model that the optimizer of stage `number` names, such as a teacher, and that is not there. The
    results that stages before it are to make are not looked for; where a run of this name is there already, this one gets
    another name, and what the path means is that run's."""
    main, config = run_file.main, run_file.stages[number][1]
    own = Path(main.runs_dir, main.name).resolve()
    made = [own / "stages" / f"{n + 1}-{name}" for n, (name, _) in enumerate(run_file.stages[:number])]
    for key, folder in other_models(registry, config, run_file.base_dir):
        if not own.exists() and any(folder in (stage, stage / "final") for stage in made):
            continue
        try:
            find_language_model(folder)
        except ModelError as error:
            yield f"optimizer.{key}: {error}"


def _compare_models(found: Findings, registry: Registry, config: RunConfig, weights: Path, base_dir: Path) -> None:
    """An error if the run that `init_from` belongs to began with another model than `model` describes: its `weights`
    would silently take that one's place, or an adapter come over a base that it was not trained on. A warning where a
    folder or the hub holds one of them, and only its user can tell."""
    run = _run_of(init_path(config.init_from or "", base_dir))
    if run is None:
        return
    values = run.read_config()
    sections = (values["resolved"]["model"], config.model)
    base = (values.get("resolved_model") or {}).get("path")  # where the run found its model
    folders = (_folder(sections[0], values["base_dir"]) or _existing(base), _folder(sections[1], base_dir))
    known = None not in folders
    theirs, ours = (_described(registry, *of, by_folder=known) for of in zip(sections, folders, strict=True))
    if folders[0] == folders[1] if known else theirs == ours:
        return
    shape, *others = (shape_of(folder) if folder else {} for folder in (weights, *folders))
    shapes = (shape or others[0], others[1])
    if any(shapes[0][key] != shapes[1][key] for key in shapes[0].keys() & shapes[1].keys()):
        theirs, ours = theirs | shapes[0], ours | shapes[1]
    elif PRETRAINED in (theirs["type"], ours["type"]):
        found.warnings.append(
            f"init_from: the run {run.path} began with the model ({_differing(theirs, ours)}), and this run file describes "
            f"({_differing(ours, theirs)}); make sure that they are the same"
        )
        return
    found.errors.append(
        f"init_from: the run {run.path} began with another model ({_differing(theirs, ours)}) than this run file "
        f"describes ({_differing(ours, theirs)}); give both the same model, or drop init_from"
    )


def _run_of(path: Path) -> RunDir | None:
    """The run that a run directory, its final/, one of its checkpoints, or the policy in one belongs to. What else lies
    in it, such as an export, is a model of its own."""
    path = path.resolve()
    steps = (p for p in (path, *path.parents) if p.parent.name == "checkpoints" and p.name.startswith("step-"))
    step = next(steps, None)
    run = step.parent.parent if step else path.parent if path.name == "final" else path
    with suppress(RunDirError):  # no config.json, or a broken one
        if "resolved" in RunDir(run).read_config():
            return RunDir(run)
    return None


def _folder(section: Mapping[str, Any], base_dir: str | Path) -> Path | None:
    """The model folder that a model section names, if it is here."""
    path = section.get("path")
    if section["type"] != PRETRAINED or not isinstance(path, str):
        return None
    return _existing(base_dir / Path(path).expanduser())


def _existing(folder: str | Path | None) -> Path | None:
    return Path(folder).resolve() if folder and (Path(folder) / "config.json").is_file() else None


def _described(
    registry: Registry, section: Mapping[str, Any], folder: Path | None, *, by_folder: bool
) -> dict[str, Any]:
    """A model section with its defaults, without what may differ between runs of one model."""
    try:
        settings = registry.configure("model_source", section, where="model")[1].model_dump(mode="json")
    except RftError:  # of a plugin that is gone
        settings = dict(section)
    if settings.get("revision") == "main":
        settings["revision"] = None
    if by_folder and section["type"] == PRETRAINED:
        settings |= {"path": str(folder), "revision": None}
    return {"type": section["type"], **{key: value for key, value in settings.items() if key not in MAY_DIFFER}}


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The settings of one model that the other has not; of another type only what both have, the type and the path."""
    keys = [key for key in one if one[key] != other.get(key)]
    if "type" in keys:
        keys = [key for key in keys if key in other or key == "path"]
    return ", ".join(f"{key}: {clean_text(str(one[key]), MAX_SHOWN)}" for key in keys)


def bad_row(registry: Registry, config: RunConfig, sources: Sources) -> str | None:
    """What is wrong with the first row of training or validation that the optimizer cannot learn from."""
    for split in ("train", "validation"):
        source = sources.of(split)
        try:
            if source is not None:
                registry.check_rows(config.optimizer, source)
        except DataError as error:
            return f"data.{split}: {error}"
    return None


def try_grader(registry: Registry, config: RunConfig, train: DataSource, base_dir: Path) -> Findings:
    """Grade a few training rows with an empty answer, the prompt itself, and values of the row."""
    found = Findings()
    if config.grader is None:
        return found
    groups = tuple(_trial_group(train.item(i)) for i in _spread(len(train), TRIAL_ROWS))
    unit = GradeUnit(
        request_id="trial",
        run_id=f"trial-{uuid.uuid4().hex}",
        groups=groups,
        timeout_s=min(config.grading.timeout_s, TRIAL_TIMEOUT_S),
    )
    worker = config.grading.worker
    grade = _by_worker if worker.addresses or worker.python else _in_this_process
    try:
        graded = grade(registry, config, base_dir, unit)
    except RftError as error:
        found.errors.append(str(error))
        return found
    grades = [(g, grade) for g, grades in zip(groups, graded.grades, strict=True) for grade in grades]
    _judge(found, is_deterministic(registry, config.grader), grades)
    _check_sub_rewards(found, registry, config, [grade for _, grade in grades])
    return found


def _check_sub_rewards(found: Findings, registry: Registry, config: RunConfig, grades: Sequence[Grade]) -> None:
    """A warning if the advantage is one of the single graders' rewards, and the grades hold none."""
    registered, settings = registry.configure("optimizer", config.optimizer, where="optimizer")
    assert isinstance(registered.spec, OptimizerSpec)
    scored = [grade for grade in grades if grade.outcome == Outcome.SCORE]
    for part in registry.parts_of(registered.spec, settings):
        if part.reads == "sub_rewards" and scored and not any(grade.sub_rewards for grade in scored):
            found.warnings.append(
                f"optimizer.{part.role}: '{part.name}' compares the rewards of single graders, and the trial grades hold none; "
                "make sure that the grader gives them, as one of type multi does"
            )


def _in_this_process(registry: Registry, config: RunConfig, base_dir: Path, unit: GradeUnit) -> GradedUnit:
    context = BuildContext(base_dir=base_dir, seed=config.seed)
    grader = registry.build("grader", config.grader or {}, context, where="grader")
    host = GraderHost(grader, concurrency=len(unit.groups))
    try:
        return host.grade(unit)
    finally:
        host.close()


def _by_worker(registry: Registry, config: RunConfig, base_dir: Path, unit: GradeUnit) -> GradedUnit:
    worker = config.grading.worker.model_copy(update={"count": 1})
    with tempfile.TemporaryDirectory(prefix="rft-validate-") as logs:
        pool = open_pool(
            "grader",
            config.grader or {},
            worker,
            run_id=unit.run_id,
            base_dir=base_dir,
            seed=config.seed,
            log_dir=Path(logs),
            registry=registry,
        )
        with pool:
            graded: GradedUnit = pool.submit(unit).result()
    return graded


def _judge(found: Findings, deterministic: bool, grades: list[tuple[Group, Grade]]) -> None:
    failed = [(g, x) for g, x in grades if x.outcome == Outcome.GRADER_ERROR]
    if failed:
        group, grade = failed[0]
        passing = not deterministic and len(failed) <= MOST_FAILED_PAID * len(grades)  # a service may fail now and then
        (found.warnings if passing else found.errors).append(
            f"the grader failed on {len(failed)} of {len(grades)} trial answers, first on {group.item.key}: {grade.error_kind}: {grade.message}"
        )
    if late := sum(x.outcome == Outcome.TIMED_OUT for _, x in grades):
        found.warnings.append(
            f"the grader gave no grade for {late} of {len(grades)} trial answers within {TRIAL_TIMEOUT_S:g} s"
        )
    rewards = [x.reward for _, x in grades if x.reward is not None]
    if rewards and min(rewards) == max(rewards):
        found.warnings.append(
            f"the grader gave {rewards[0]:g} to all {len(rewards)} trial answers (nothing, the prompt, values of the row): "
            "make sure that it can tell answers apart"
        )
    elif not rewards and not failed and grades:
        found.warnings.append(f"the grader gave no reward to any of {len(grades)} trial answers")


def _spread(rows: int, count: int) -> list[int]:
    """At most `count` indices, evenly over the rows."""
    return sorted({i * rows // count for i in range(min(count, rows))} if rows >= count else set(range(rows)))


def _trial_group(item: Item) -> Group:
    texts = dict.fromkeys(["", prompt_text(item.row), *_row_texts(item.row)])
    rollouts = tuple(
        Rollout(ordinal=item.index, sample=n, seed=0, segments=(), text=text, finish_reason="stop")
        for n, text in enumerate(texts)
    )
    return Group(ordinal=item.index, item=item, rollouts=rollouts)


def _row_texts(row: Any) -> list[str]:
    """Values that the row holds beside the prompt: one of them is often the answer."""
    values = [v for k, v in row.items() if k not in ("messages", "tools")]
    texts = [v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values if v is not None]
    return texts[:TRIAL_KEYS]
