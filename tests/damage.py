"""Damages the code in many places, one at a time, and sees the tests fail each time.

    python -m tests.damage              all of them, some ten minutes
    python -m tests.damage 3 17         those of these numbers

Each damage is one changed line in a copy of the tree; the tests named with it must then fail. The
last result is in docs/architecture.md.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DAMAGES = [  # (file, line as it is, line as it becomes, tests)
    # equations and derivatives
    ("charlm/reference/lstm.py", "c = f * c_prev + i * g", "c = f * c_prev + i + g",
     "tests/reference/test_cells.py"),
    ("charlm/reference/lstm.py", "do = dh * s", "do = dh * c_prev",
     "tests/reference/test_cells.py"),
    ("charlm/reference/gru.py", "h = z * h_prev + (1 - z) * g", "h = z * g + (1 - z) * h_prev",
     "tests/reference/test_cells.py"),
    ("charlm/reference/coupled.py", "df = dc * (c_prev - g)", "df = dc * (c_prev + g)",
     "tests/reference/test_cells.py -m 'not soak'"),
    ("charlm/reference/rnn.py", "da = dh * activation.slope(h)", "da = dh",
     "tests/reference/test_cells.py -m 'not soak'"),
    ("charlm/layers/lstm.py", "h = o * self.activation(c)", "h = o * c",
     "tests/layers/test_recurrent.py -k equals_keras"),
    ("charlm/layers/lstm.py", "da_f = dc * c_prev * f * (1 - f)", "da_f = dc * c * f * (1 - f)",
     "tests/layers/test_recurrent.py -k equals_keras"),
    ("charlm/layers/gru.py", "h = z * h_prev + (1 - z) * g", "h = z * h_prev + (1 + z) * g",
     "tests/layers/test_recurrent.py -k equals_keras"),
    ("charlm/kernels/lstm.py", "dc[j] = d * f", "dc[j] = d * i",
     "tests/kernels/test_compiled.py -k 'loops and lstm'"),
    ("charlm/kernels/gru.py", "du[2 * H + j] = d_g * r", "du[2 * H + j] = d_g",
     "tests/kernels/test_compiled.py -k 'loops and gru'"),
    ("charlm/kernels/time_loop.py", "            wait(barrier, members)  # before", "            #",
     "tests/kernels/test_shares.py -m 'not soak' -k one_core"),
    ("charlm/kernels/shares.py", "        barrier.break_up(share.barrier)\n", "",
     "tests/kernels/test_shares.py -k fails"),
    ("charlm/kernels/parallel.py", "    with _starting:\n", "    if True:\n",
     "tests/kernels/test_shares.py -k same_time"),
    ("charlm/kernels/shares.py", "_rest = _next_rest if busy < BUSY else 0", "_rest = 0",
     "tests/kernels/test_shares.py -k shared"),
    # text, ids, windows
    ("charlm/text/vocab.py", "if len(ids) and ids.max() == len(self):", "if len(ids) < 0:",
     "tests/text/test_vocab.py"),
    ("charlm/text/windows.py", "inputs, following = ids[..., :-1], ids[..., 1:]",
     "inputs, following = ids[..., 1:], ids[..., 1:]", "tests/text/test_windows.py"),
    ("charlm/text/windows.py", "< share) | (step == 0)", "< share) | (step == 1)",
     "tests/text/test_windows.py"),
    ("charlm/text/encode.py", "[n - cut for n, cut", "[n for n, cut", "tests/text/test_encode.py"),
    ("charlm/text/encode.py", "digest.update(_number(size))  # where", "pass  # where",
     "tests/text/test_encode.py"),
    ("charlm/text/record_streams.py", "min(stretch // 2, MAX_SKIP)", "MAX_SKIP",
     "tests/text/test_record_streams.py"),
    ("charlm/text/mapped_ids.py", "if self.resident > self.most:", "if False:",
     "tests/text/test_mapped_ids.py"),
    ("corpora/document.py", "HELD_OUT_AT = 10, 5", "HELD_OUT_AT = 10, 6", "tests/corpora"),
    # files, folders, locks
    ("charlm/runs/file_format.py", "if data[at : at + DIGEST] != _digest(memoryview(data), at):",
     "if False:", "tests/runs/test_hostile.py tests/runs/test_checkpoint.py"),
    ("charlm/runs/file_format.py", "if found != _description(data)", "if not _description(data)",
     "tests/runs/test_checkpoint.py tests/runs/test_hostile.py"),
    ("charlm/runs/atomic.py", "temporary = _temporary(path.name)", "temporary = path.name",
     "tests/runs/test_atomic.py"),
    ("charlm/runs/atomic.py", "dst_dir_fd=folder)\n    systems.sync(folder)", "dst_dir_fd=folder)",
     "tests/runs/test_atomic.py"),
    ("charlm/systems.py", "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB",
     "tests/runs/test_run_folder.py tests/runs/test_atomic.py tests/cli/test_plain_answers.py"),
    ("charlm/runs/untrusted.py", "MAX_PARTS = 300_000", "MAX_PARTS = 300_000_000",
     "tests/runs/test_safe_hdf5.py tests/interop/test_state_dicts.py"),
    ("charlm/runs/hdf5_child.py", "if address in seen:", "if False:",
     "tests/runs/test_safe_hdf5.py tests/runs/test_hostile.py"),
    ("charlm/paths.py", "if about.st_mode & OTHERS_WRITE:", "if False:", "tests/test_paths.py"),
    # rules of choice
    ("charlm/generation/constraints.py", "falling[:, top_k:] = 0", "falling[:, top_k + 1 :] = 0",
     "tests/generation/test_sampler.py"),
    ("charlm/generation/constraints.py", "falling[before >= top_p", "falling[before > top_p",
     "tests/generation/test_sampler.py"),
    ("charlm/generation/constraints.py", "-= np.log(self.rules.repetition_penalty)",
     "-= self.rules.repetition_penalty", "tests/generation/test_sampler.py"),
    ("charlm/generation/constraints.py", "return (edges <= (uniform", "return (edges < (uniform",
     "tests/generation/test_sampler.py"),
    ("charlm/generation/sampler.py", "default_rng([one, *purpose, n])",
     "default_rng([one, n, *purpose])", "tests/generation"),
    ("charlm/generation/sampler.py", "temperatures[rows]", "temperatures[: len(rows)]",
     "tests/generation"),
    ("charlm/generation/sampler.py", "            choice.select(kept)\n", "",
     "tests/generation/test_sampler.py"),
    ("charlm/kernels/object_code.py", "if hashlib.sha256(data).hexdigest().encode() != digest:",
     "if not digest:", "tests/kernels/test_object_code.py"),
    ("charlm/kernels/draw.py", "before, after = k % 2, (k + 1) % 2", "before, after = 0, 1",
     "tests/kernels/test_generate.py"),
    ("charlm/generation/generate.py", "return piece[: min(ends) - len(self.tail)]",
     "return piece[: max(ends) - len(self.tail)]", "tests/generation/test_generate.py"),
    # training
    ("callbacks/track_progress.py", "if p.best is None or logs[\"val_loss\"] < p.best:",
     "if p.best is None or logs[\"val_loss\"] > p.best:", "tests/training/test_callbacks.py"),
    ("callbacks/stop_early.py", "if 0 < self.patience <= self", "if 0 < self.patience < self",
     "tests/training/test_callbacks.py"),
    ("callbacks/stop_on_nan.py", "if not abs(loss) <= EXPLODED:", "if abs(loss) > EXPLODED:",
     "tests/training/test_callbacks.py tests/training/test_trainer.py"),
    ("charlm/training/resume.py", "for part in FIXED:", "for part in (\"model\",):",
     "tests/training/test_resume.py"),
    ("charlm/training/streams.py", "kept = 1 - fresh[:, None]", "kept = 1 + 0 * fresh[:, None]",
     "tests/training/test_network.py"),
    ("charlm/training/trainer.py", "shuffle=False,", "shuffle=True,",
     "tests/training/test_trainer.py"),
    # evaluation, other programs
    ("charlm/evaluation/losses.py", "return total / sum(x.size for x in losses) / math.log(2)",
     "return total / len(losses) / math.log(2)", "tests/evaluation tests/api"),
    ("charlm/interop/keras_files/convert.py", "scaled = (w * factors)", "scaled = (w * 1)",
     "tests/interop/test_import.py -m 'not soak'"),
]  # fmt: skip


def caught(number: int, copy: Path) -> bool:
    """Whether the tests fail with one damage."""
    file, line, damaged, tests = DAMAGES[number]
    path = copy / file
    whole = path.read_text()
    if line not in whole:
        raise SystemExit(f"damage {number}: expected {line!r} in {file}, found no such line")
    path.write_text(whole.replace(line, damaged, 1))
    command = f"{sys.executable} -m pytest -n 0 -x -p no:cacheprovider {tests}"
    done = subprocess.run(
        command,
        shell=True,
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    path.write_text(whole)
    if done.returncode not in (0, 1):  # 0: all passed, 1: some failed
        raise SystemExit(f"damage {number}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1


def main() -> None:
    """Runs the damages whose numbers are given, or all."""
    numbers = [int(x) for x in sys.argv[1:]] or range(len(DAMAGES))
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "charlm")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "saved_models"))
        for number in numbers:
            found = caught(number, copy)
            file, line, damaged, _ = DAMAGES[number]
            print(f"{number:2} {'caught' if found else 'MISSED'}  {file}: {line.strip()} -> "
                  f"{damaged.strip()}", flush=True)  # fmt: skip
            missed += [] if found else [number]
    print(f"{len(numbers) - len(missed)} of {len(numbers)} damages were caught; missed: {missed}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
