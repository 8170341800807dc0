"""Optuna's side of test/optuna.test.ts: `optuna-peer.py COMMAND JOURNAL STUDY [COUNT]`. Prints JSON."""
import json
import math
import sys
import time
import warnings

import optuna
from optuna.distributions import distribution_to_json
from optuna.trial import TrialState

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_study(path, name, **options):
    storage = optuna.storages.JournalStorage(optuna.storages.JournalFileStorage(path))
    return optuna.load_study(study_name=name, storage=storage, **options)


def number(value):
    return str(value) if value is not None and not math.isfinite(value) else value


def dump(study):
    def facts(trial):
        return {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "value": number(trial.value),
            "params": trial.params,
            "distributions": {k: json.loads(distribution_to_json(v)) for k, v in trial.distributions.items()},
            "intermediateValues": {str(k): number(v) for k, v in trial.intermediate_values.items()},
            "userAttrs": trial.user_attrs,
            "systemAttrs": trial.system_attrs,
            "started": trial.datetime_start and trial.datetime_start.isoformat(timespec="microseconds"),
            "completed": trial.datetime_complete and trial.datetime_complete.isoformat(timespec="microseconds"),
        }

    print(json.dumps({
        "direction": study.direction.name.lower(),
        "userAttrs": study.user_attrs,
        "best": study.best_trial.number,
        "trials": [facts(trial) for trial in study.trials],
    }))


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
    study.add_trial(optuna.trial.create_trial(
        value=-1.5,
        params={"size": 32},
        distributions={"size": optuna.distributions.IntDistribution(16, 64, step=16)},
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


def main():
    command, path, name, *rest = sys.argv[1:]
    study = open_study(path, name, sampler=optuna.samplers.RandomSampler())
    if command == "add":
        add(study)
    elif command == "write":
        write(study, int(rest[0]))
    dump(study)


main()
