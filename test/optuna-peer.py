"""Optuna's side of test/optuna.test.ts: `optuna-peer.py COMMAND JOURNAL STUDY [COUNT]`. Prints Python's JSON."""
import json
import random
import sys
import time
import warnings

import optuna
from optuna import distributions as d
from optuna.trial import FrozenTrial, TrialState, create_trial

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)


def dump(storage):
    def facts(trial):
        return {
            "id": trial._trial_id,
            "number": trial.number,
            "state": trial.state.name.lower(),
            "values": trial.values and [float(v) for v in trial.values],
            "params": trial.params,
            "distributions": {k: json.loads(d.distribution_to_json(v)) for k, v in trial.distributions.items()},
            "intermediateValues": {str(k): float(v) for k, v in trial.intermediate_values.items()},
            "userAttrs": trial.user_attrs,
            "systemAttrs": trial.system_attrs,
            "started": trial.datetime_start and trial.datetime_start.isoformat(timespec="microseconds"),
            "completed": trial.datetime_complete and trial.datetime_complete.isoformat(timespec="microseconds"),
        }

    print(json.dumps([{
        "id": study._study_id,
        "name": study.study_name,
        "directions": [direction.name.lower().replace("_s", "S") for direction in study.directions],
        "userAttrs": study.user_attrs,
        "systemAttrs": study.system_attrs,
        "trials": [facts(trial) for trial in storage.get_all_trials(study._study_id)],
    } for study in storage.get_all_studies()]))


def suggest(trial):
    return (
        trial.suggest_float("lr", 1e-4, 0.1, log=True),
        trial.suggest_int("size", 16, 64, step=16),
        trial.suggest_float("rate", 0, 0.5, step=0.1),
        trial.suggest_categorical("channels", ["64,128", "32,64"]),
        trial.suggest_categorical("augment", [True, False]),
    )


def add(study):
    """One trial of every kind that Optuna makes."""
    waiting = study.ask()
    suggest(waiting)
    study.tell(waiting, 0.25)
    complete = study.ask()
    suggest(complete)
    complete.report(float("nan"), 1)
    complete.report(float("inf"), 2)
    complete.set_user_attr("note", {"nested": [1, None, "ä"]})
    study.tell(complete, float("inf"))
    pruned = study.ask()
    suggest(pruned)
    pruned.report(0.5, 3)
    study.tell(pruned, state=TrialState.PRUNED)
    study.tell(study.ask(), state=TrialState.FAIL)
    suggest(study.ask())
    study.add_trial(create_trial(
        value=-1.5,
        params={"size": 32},
        distributions={"size": d.IntDistribution(16, 64, step=16)},
        intermediate_values={0: 1.0, 10: 2.0},
    ))
    study.enqueue_trial({"size": 48})


def write(study, count):
    for _ in range(count):
        trial = study.ask()
        size = trial.suggest_int("size", 16, 64, step=16)
        trial.report(size, 1)
        trial.set_user_attr("by", "optuna")
        time.sleep(0.02)
        study.tell(trial, size)


NUMBERS = [0, -1, 2**53 + 1, -(10**30), 0.1, 1e300, float("nan"), float("inf"), float("-inf"), True]
CHOICES = NUMBERS + [None, False, "NaN", 'a "quoted" \u2028 \u00fc\n', "1e7078", "__proto__", [64, [2**60, None]], {"a": [float("inf")]}]

# Every class of distribution, with a value.
SAMPLES = [
    (d.FloatDistribution(0, 1), 0.3),
    (d.FloatDistribution(float("-inf"), float("inf")), -1e300),
    (d.FloatDistribution(1e-5, 1, log=True), 1e-3),
    (d.FloatDistribution(0, 0.75, step=0.1), 0.7),
    (d.IntDistribution(1, 9), 5),
    (d.IntDistribution(-(2**70), 2**70), 2**60 + 2**20),
    (d.IntDistribution(1, 1000, log=True), 31),
    (d.IntDistribution(0, 30, step=8), 16),
    (d.UniformDistribution(0, 1), 0.3),
    (d.LogUniformDistribution(1e-5, 1), 1e-3),
    (d.DiscreteUniformDistribution(0, 0.75, 0.1), 0.2),
    (d.IntUniformDistribution(0, 30, 8), 8),
    (d.IntLogUniformDistribution(1, 1000), 31),
    *[(d.CategoricalDistribution(CHOICES), choice) for choice in CHOICES],
    *[(d.CategoricalDistribution([choice, 7]), choice) for choice in CHOICES],
]


def fuzz(storage, name, seed, count):
    """Does everything that Optuna can do, in random order: every class of distribution, state and kind of value."""
    rng = random.Random(seed)
    sampler = optuna.samplers.RandomSampler(seed)

    def new_study(study_name):
        directions = ["minimize"] if study_name == name else rng.choices(["minimize", "maximize"], k=rng.randint(1, 3))
        return optuna.create_study(storage=storage, study_name=study_name, directions=directions, sampler=sampler)

    def samples(least=0):
        return {rng.choice("abcdefg") + str(i): SAMPLES[i] for i in rng.sample(range(len(SAMPLES)), rng.randint(least, 6))}

    def value():
        return rng.choice([x for x in NUMBERS if x == x] + [rng.random()])

    def values(study):
        return [float(value()) for _ in study.directions]

    def template(study, state):
        chosen = samples()
        is_complete = state == TrialState.COMPLETE
        return FrozenTrial(
            number=-1, trial_id=-1, state=state, value=None, values=values(study) if is_complete else None,
            params={k: v for k, (_, v) in chosen.items()}, distributions={k: x for k, (x, _) in chosen.items()},
            user_attrs={"a": rng.choice(CHOICES)}, system_attrs={"b": rng.choice(CHOICES)},
            intermediate_values={rng.randint(0, 9): rng.choice(NUMBERS) for _ in range(rng.randint(0, 3))},
            datetime_start=rng.choice([None, optuna.trial._frozen.datetime.datetime.now()]),
            datetime_complete=optuna.trial._frozen.datetime.datetime.now() if state.is_finished() else None,
        )

    def suggest_any(trial):
        trial.suggest_float("x", 0, 1)
        trial.suggest_float("log", 1e-5, 1, log=True)
        trial.suggest_int("step", 0, 30, step=rng.choice([1, 8]))
        trial.suggest_categorical("any", CHOICES)
        trial.suggest_uniform("old", 0, 1)
        for _ in range(rng.randint(0, 3)):
            trial.report(rng.choice(NUMBERS), rng.choice([0, 1, 5, 2**40]))
        trial.set_user_attr(rng.choice("ab"), rng.choice(CHOICES))
        trial.set_system_attr(rng.choice("ab"), rng.choice(CHOICES))

    def attempt(study, tell=True):
        trial = study.ask()
        suggest_any(trial) if len(study.directions) == 1 and rng.random() < 0.8 else None
        if tell:
            outcome = rng.choice(["complete", "pruned", "fail"])
            study.tell(trial, values(study) if outcome == "complete" else None, TrialState[outcome.upper()])

    def retry(study):
        failed = [trial for trial in study.trials if trial.state == TrialState.FAIL]
        if failed:
            callback = optuna.storages.RetryFailedTrialCallback(inherit_intermediate_values=rng.random() < 0.5)
            callback(study, rng.choice(failed))

    studies = [new_study(name), new_study("other")]
    for step in range(count):
        study = rng.choice(studies)
        kind = rng.randrange(11)
        if kind == 0 and len(studies) < 5:
            studies.append(new_study(rng.choice(["deleted", "\u00fc", str(step)]) + str(step)))
        elif kind == 1 and study.study_name != name:
            optuna.delete_study(study_name=study.study_name, storage=storage)
            studies.remove(study)
        elif kind == 2:
            study.set_user_attr(rng.choice("ab"), rng.choice(CHOICES))
            study.set_system_attr(rng.choice("ab"), rng.choice(CHOICES))
        elif kind == 3:
            study.enqueue_trial({k: v for k, (_, v) in samples(1).items()})
        elif kind == 4:
            retry(study)
        elif kind in (5, 6):
            storage.create_new_trial(study._study_id, template(study, rng.choice(list(TrialState))))
        elif kind == 7:
            chosen = samples()
            study.add_trial(create_trial(
                values=values(study), params={k: v for k, (_, v) in chosen.items()},
                distributions={k: x for k, (x, _) in chosen.items()},
            ))
        else:
            attempt(study, tell=rng.random() < 0.8)
    # Left for the other side.
    for _ in range(5):
        studies[0].enqueue_trial({k: v for k, (_, v) in samples(1).items()})
    retry(studies[0])


def main():
    command, path, name, *rest = sys.argv[1:]
    storage = optuna.storages.JournalStorage(optuna.storages.JournalFileStorage(path))
    sampler = optuna.samplers.RandomSampler()
    if command == "fuzz":
        fuzz(storage, name, int(rest[0]), 120)
    elif command != "dump":
        study = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
        add(study) if command == "add" else write(study, int(rest[0]))
    dump(storage)


main()
