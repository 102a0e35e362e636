from itertools import pairwise
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from teledx_fed.config.loading import build, command_line_problem, load, read, save
from teledx_fed.config.loading import compose as compose_for_network
from teledx_fed.config.settings import Settings
from teledx_fed.federation.strategies.registry import strategy_of

CONF = Path(__file__).parents[2] / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def composed(*overrides: str) -> Settings:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build(compose("config", list(overrides)))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(experiment: str) -> None:
    assert composed(f"experiment={experiment}", "data_root=somewhere").federation.rounds > 0


@pytest.mark.parametrize(
    "choice",
    [
        "evaluation.folds=5",
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in ("faults=sign_flip", "seeds=[0,1]", "partition.absent=north", "tracking=mlflow")
        ),
    ],
)
def test_settings_for_simulations_only_are_refused_over_a_network(choice: str) -> None:
    name = choice.partition("=")[0]
    with pytest.raises(ValueError, match=rf"{name}\S* must be \S+ over a network, got .*\. Use it in a simulation"):
        compose_for_network(["experiment=quick_full", choice])


@pytest.mark.slow
@pytest.mark.parametrize("group", ["data", "partition", "strategy", "faults", "tracking"])
def test_every_choice_composes(group: str) -> None:
    for path in (CONF / group).glob("*.yaml"):
        composed(f"{group}={path.stem}", "data_root=somewhere")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=real_hospitals"], "data_root must be the folder that data=NAME reads"),
        (["data=aptos2019"], "data_root must be the folder that data=NAME reads"),
        (["federation.rounds=0"], "federation.rounds must lie in 1"),
        (["training.optimizer=lion"], "training.optimizer must be one of adamw, adam, sgd, got 'lion'"),
        (["training.learning_rate=-1"], "training.learning_rate must be positive"),
        (["partition.by=hospital"], "partition.by must be one of"),
        (["partition.test=0.6", "partition.validation=0.6"], "partition.validation + partition.test must lie"),
        (["model.name=resnet18"], "model.name must be tf_efficientnet_b0 where model.initial is lite0"),
        (["model.initial=file"], "model.file must be given with model.initial=file"),
        (["model.freeze=0"], "model.freeze must be none, backbone or a number of blocks, at least 1"),
        (["model.freeze=some"], "model.freeze must be none, backbone or a number of blocks"),
        (["model.head=referable", "model.oedema=true"], "model.oedema must be false with model.head=referable"),
        (["baselines=[ensemble]"], "baselines must include local if they include ensemble"),
        (["data.hospitals.north.prevalence=[1,0,0,0,1]"], "data.hospitals.prevalence must be 5 shares that sum to 1"),
        (["+data.grading.good=7"], "data.grading.good must be an ICDR grade 0 to 4"),
    ],
)
def test_a_bad_setting_is_named(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is what is tested
        composed(*overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs=many", "Error merging override training.epochs=many"),
        ("training.epoch=3", "epoch"),
        ("experiment=quik", "Could not find 'experiment/quik'"),
    ],
)
def test_a_wrong_type_or_name_is_refused_by_the_schema(override: str, message: str) -> None:
    with pytest.raises(HydraException, match=message):
        composed(override)


def test_settings_can_be_built_without_hydra() -> None:
    with pytest.raises(
        ValueError, match=r"training\.epoch must be the name of a setting, .* Did you mean training\.epochs\?"
    ):
        build({"data": {"hospitals": {"north": {}}}, "training": {"epoch": 3}})


@pytest.mark.parametrize(
    ("choice", "name", "nearest"),
    [
        ("hospital=hospitals.yaml", "hospital", "hospitals"),
        ("+hospital=hospitals.yaml", "hospital", "hospitals"),
        ("++training.epoch=3", "training.epoch", "training.epochs"),
        ("+rounds=3", "rounds", "federation.rounds"),
        ("+training.rounds={a: {b: 3}}", "training.rounds", "federation.rounds"),
        ("+data.hospitals.north.patient=3", "data.hospitals.north.patient", "data.hospitals.north.patients"),
        ("+data.hospitals.north.qqq=3", "data.hospitals.north.qqq", None),
    ],
)
def test_a_setting_that_does_not_exist_is_refused_with_the_nearest(choice: str, name: str, nearest: str | None) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is what is tested
        compose_for_network(["experiment=quick", choice])
    assert str(error.value).startswith(f"{name} must be the name of a setting, got one that does not exist. ")
    assert f"Did you mean {nearest}? " in str(error.value) if nearest else "Did you mean" not in str(error.value)


@pytest.mark.parametrize("odd", ["a\nb", "a.b.c", "", "."])
def test_an_unknown_name_with_line_breaks_is_refused_in_one_line(odd: str) -> None:
    with pytest.raises(ValueError, match=r"^training\.[^\n]* must be the name of a setting, [^\n]+$"):
        build({"data": {"hospitals": {"north": {}}}, "training": {odd: 3}})


def test_the_keys_of_a_mapping_are_free() -> None:
    settings = composed("+tracking.tags.training=first", "+data.grading.good=1")
    assert (settings.tracking.tags, settings.data.grading) == ({"training": "first"}, {"good": 1})


def test_fedprox_sets_training_proximal_mu() -> None:
    assert composed("strategy=fedprox").training.proximal_mu == 0.01
    assert composed("strategy=fedprox", "training.proximal_mu=0.5").training.proximal_mu == 0.5
    with pytest.raises(ValueError, match=r"training\.proximal_mu must be positive with fedprox, got 0"):
        strategy_of(composed("strategy.name=fedprox"))


def test_the_cosine_schedule_ends_near_zero_and_the_constant_one_does_not_change() -> None:
    settings = composed("training.schedule=cosine", "federation.rounds=10")
    rates = [settings.local_training(round).learning_rate for round in range(1, 11)]
    assert rates[0] == settings.training.learning_rate
    assert all(later < earlier for earlier, later in pairwise(rates))
    assert rates[-1] < 0.05 * rates[0]
    assert composed().local_training(10).learning_rate == settings.training.learning_rate


def test_saved_settings_are_loaded_unchanged(tmp_path: Path) -> None:
    settings = composed("experiment=quick", "seed=7")
    save(settings, tmp_path / "config.yaml")
    assert load(tmp_path / "config.yaml") == settings


def test_a_run_repeats_seeds_and_within_each_every_fold() -> None:
    alone = composed()
    assert alone.repeats() == [[alone]]
    settings = composed("seeds=[4,2]", "evaluation.folds=3")
    repeats = settings.repeats()
    assert [[(part.seed, part.evaluation.fold) for part in folds] for folds in repeats] == [
        [(seed, fold) for fold in range(3)] for seed in (4, 2)
    ]
    names = [settings.part_name(part) for folds in repeats for part in folds]
    assert names[:2] == ["seed4-fold0", "seed4-fold1"]
    assert len(set(names)) == 6
    for part in repeats[1]:
        assert part.repeats() == [[part]]
        assert part.part_name(part) == ""


def test_the_data_seed_does_not_follow_the_run_seed() -> None:
    assert {part.data.seed for folds in composed("seeds=[1,2]").repeats() for part in folds} == {0}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seeds=[1,1]"], "seeds must differ"),
        (["evaluation.fold=1"], r"evaluation\.folds must come with evaluation\.fold, got 1"),
        (["evaluation.folds=3", "evaluation.fold=3"], r"evaluation\.fold must lie in 0…2, got 3"),
    ],
)
def test_invalid_seeds_and_folds_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        composed(*overrides)


def test_partition_absent_must_name_a_hospital() -> None:
    partition = composed("partition.absent=atlantis").partition
    with pytest.raises(ValueError, match=r"partition\.absent must be one of north, south, got 'atlantis'"):
        partition.present({"north": 1, "south": 2})


@pytest.mark.parametrize("word", ["no", "yes", "00", "1.0", "R0", "~", "0x1F", "sévère"])
def test_a_hospitals_words_are_text_as_they_are_written(tmp_path: Path, word: str) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(f"data: {{grading: {{{word}: 3}}}}\ntraining: {{learning_rate: 1e-3, augment: no}}\n", "utf-8")
    settings = read(file, Settings)
    assert settings.data.grading == {word: 3}
    assert (settings.training.learning_rate, settings.training.augment) == (1e-3, False)
    save(settings, tmp_path / "config.yaml")
    assert load(tmp_path / "config.yaml") == settings


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (["data.grading={R0:0,R1:1}"], True),
        (["data=folder", "+data.grading.00=0"], True),
        pytest.param(["data.file_pattern=(?P<patient>.)"], True, marks=pytest.mark.slow),
        pytest.param(["data.sources={a:{layout:folder}}"], True, marks=pytest.mark.slow),
        (["data.hospitals.north.patients=60"], False),
        pytest.param(["data=folder", "data_root=.", "+data.grading.R0=0"], False, marks=pytest.mark.slow),
        pytest.param(["experiment=poisoned", "data.hospitals.delta.patients=60"], False, marks=pytest.mark.slow),
        (["strategy=fedadam", "seed=[0"], False),
    ],
)
def test_settings_that_hydra_cannot_parse_are_refused_with_a_pointer_to_a_file(words: list[str], refused: bool) -> None:
    problem = command_line_problem(words)
    assert ("name it with hospitals=FILE: docs/researcher.md, Your own hospitals." in (problem or "")) is refused
