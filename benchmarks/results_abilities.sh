#!/usr/bin/env bash
# The tables of docs/RESULTS.md about the further abilities of the arm and the claims, from nothing. About an
# hour and a half on two cores; every step resumes where it was stopped. The claims need the shipped heads
# of the older tasks beside the ones made here.
set -euo pipefail
cd "$(dirname "$0")/.."
PY=${PY:-.venv/bin/python}
SEED=${SEED:-0}
EPISODES=${EPISODES:-200}
WORKERS=${WORKERS:-2}
export OMP_NUM_THREADS=1
BENCH="$PY -m neon_sim.benchmarks.cli"
TASKS=arm_shell_game,arm_rebound,arm_parallax,arm_swing

$PY -m neon_sim.collect task=$TASKS episodes=800 seed=0 workers="$WORKERS" out=data/abilities
$PY -m neon_sim.collect task=arm_rebound episodes=2500 seed=1 workers="$WORKERS" out=data/rebound

train() {  # condition steps
  $PY -m neon_sim.train policy=neon_tiny condition="$1" seed="$SEED" steps="$2" data=data/abilities,data/rebound \
    window_stride=8 proprio_noise=0.05 out=runs/abilities/heads
}
for condition in frame stack video video_repeat video_shuffle oracle_memoryless oracle_history; do train $condition 2400; done
train blind 1600

HEADS="checkpoint=runs/abilities/heads/{condition}-seed{train_seed}.safetensors"
$BENCH run --policy neon_tiny --condition blind,frame,stack,video,video_repeat,video_shuffle --task $TASKS \
  --episodes "$EPISODES" --seed 0 --train-seeds "$SEED" --workers "$WORKERS" --out runs/abilities/run --resume "$HEADS"
$BENCH certify --task $TASKS --policy neon_tiny --episodes "$EPISODES" --seed 1 --train-seeds "$SEED" \
  --workers "$WORKERS" --run runs/abilities/certificates "$HEADS"
$BENCH run --policy neon_tiny --suite claims --condition frame,video,video_repeat --episodes "$EPISODES" --seed 0 \
  --workers "$WORKERS" --out runs/claims --resume
