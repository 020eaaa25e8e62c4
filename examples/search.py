"""Searches for settings with Optuna: many runs of `charlm train` at once, on any machines.

    pip install -e '.[examples]'
    python examples/search.py mine.txt --trials 20 --folder search

Start it as often as you like, by hand or by a launcher, on as many machines as share the folder:
each process is a worker that takes the next trial. A trial is a run in FOLDER/runs; a run that is
worse than the others at the same epoch is stopped (pruned). It uses one GPU, or all cores of a CPU;
CUDA_VISIBLE_DEVICES and taskset give each worker its own. The settings and their ranges are in
`suggested`.
"""

import argparse
import csv
import subprocess
import sys
import time
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

EPOCHS, POLL = 4, 0.2  # POLL in seconds
OWN = (
    *("--name", "--runs-dir", "--resume", "--continue", "--sample-length", "--quiet"),
    "--distribute",
)
FIXED = {"units": 64, "learning_rate": 0.01, "dropout": 0.0}  # any values


def suggested(trial: optuna.Trial) -> dict[str, object]:
    """Returns the flags of a trial."""
    return {
        "--units": trial.suggest_int("units", 64, 512, step=64),
        "--learning-rate": trial.suggest_float("learning_rate", 0.002, 0.05, log=True),
        "--dropout": trial.suggest_float("dropout", 0.0, 0.5),
    }


def losses(run: Path) -> list[float]:
    """Returns the held-out bits per character after each epoch so far."""
    path = run / "history.csv"
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return [float(row["val_bpc"]) for row in csv.DictReader(file)]


def trained(trial: optuna.Trial, text: str, folder: Path, epochs: int, flags: list[str]) -> float:
    """Trains a run in a process of its own, and reports each epoch; returns its best loss."""
    run = folder / "runs" / f"trial-{trial.number}"
    command = [sys.executable, "-m", "charlm.train", text, "--quiet", "--sample-length", "0"]
    command += ["--distribute", "none"]  # or the workers of a launcher would train one run together
    command += ["--runs-dir", str(run.parent), "--name", run.name, "--epochs", str(epochs), *flags]
    for flag, value in suggested(trial).items():
        command += [flag, str(value)]
    with (
        open(folder / f"trial-{trial.number}.log", "w") as log,
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        try:
            told = 0
            while process.poll() is None or len(losses(run)) > told:
                found = losses(run)
                for epoch, loss in enumerate(found[told:], told):
                    trial.report(loss, epoch)
                told = len(found)
                if process.poll() is None and 0 < told < epochs and trial.should_prune():
                    raise optuna.TrialPruned(f"after epoch {told}")
                time.sleep(POLL)
        finally:
            process.terminate()  # charlm saves the run and ends; it could be resumed
    if process.returncode or not losses(run):
        if process.returncode == 2:  # a wrong flag or text, which no other trial has right
            trial.study.stop()
        last = Path(log.name).read_text().strip().rpartition("\n")[2]
        raise RuntimeError(f"charlm train ended with code {process.returncode}: {last}")
    return min(losses(run))


def main() -> None:
    """Runs trials, and prints the best of all workers."""
    parser = argparse.ArgumentParser(
        description=f"{__doc__.splitlines()[0]} Other flags are those of charlm train."
    )
    parser.add_argument("text", help="file, folder or name of a corpus, as for charlm train")
    parser.add_argument("--trials", type=int, default=20, help="trials of this worker")
    parser.add_argument("--folder", type=Path, default=Path("search"), help="shared by all workers")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"of a trial; default {EPOCHS}")
    args, flags = parser.parse_known_args()  # the others are flags of charlm train
    chosen = {*OWN, *suggested(optuna.trial.FixedTrial(FIXED))} & {
        flag.partition("=")[0] for flag in flags
    }
    if chosen:
        parser.error(f"expected no flag that a trial chooses, found {', '.join(chosen)}")
    args.folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(args.folder / "journal.log"))),
        study_name="charlm",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
    )
    settings = {"text": args.text, "epochs": args.epochs, "flags": flags}
    if (others := study.user_attrs.get("settings", settings)) != settings:
        parser.error(f"expected the settings of the other workers, {others}, found {settings}")
    study.set_user_attr("settings", settings)
    study.optimize(
        lambda trial: trained(trial, args.text, args.folder, args.epochs, flags),
        n_trials=args.trials,
        catch=(Exception,),
    )
    if not any(trial.value is not None for trial in study.trials):
        sys.exit(f"no trial has finished; see {args.folder}/trial-*.log")
    best = study.best_trial
    print(f"best: {best.value:.4f} bits/char, trial {best.number}, {best.params}")


if __name__ == "__main__":
    main()
