#!/usr/bin/env bash
# The tables of docs/RESULTS.md about the further abilities of the arm and the claims, from nothing. About two
# hours on two cores; every step resumes where it was stopped. The claims need the shipped heads
# of the older tasks beside the ones made here.
set -euo pipefail
cd "$(dirname "$0")/../.."
PY=${PY:-.venv/bin/python}
SEED=${SEED:-0}
EPISODES=${EPISODES:-200}
WORKERS=${WORKERS:-2}
export OMP_NUM_THREADS=1
BENCH="$PY -m neon_sim.benchmarks.cli"
TASKS=arm_shell_game,arm_rebound,arm_parallax,arm_swing

collect() {  # dataset tasks episodes seed key=value ...
  $PY -m neon_sim.collect task="$2" episodes="$3" seed="$4" workers="$WORKERS" out="data/$1" "${@:5}"
}
train() {  # heads condition steps datasets key=value ...
  $PY -m neon_sim.train policy=neon_tiny condition="$2" seed="$SEED" steps="$3" data="$4" \
    window_stride=8 proprio_noise=0.05 out="runs/abilities/$1" "${@:5}"
}
collect abilities $TASKS 800 0
collect rebound arm_rebound 2500 1
ALL=data/abilities,data/rebound
for condition in frame stack video video_repeat video_shuffle oracle_memoryless oracle_history; do
  train heads $condition 2400 $ALL
done
train heads blind 1600 $ALL

# DAgger: oracles move the arm, the expert says what it would have done; heads of their own for arm_rebound
REBOUNDS=$ALL seed=2
for oracle in oracle_history oracle_memoryless; do
  train walkers $oracle 1600 $ALL tasks=arm_rebound
  collect rebound_$oracle arm_rebound 1200 $seed beta=0.0 condition=$oracle \
    policy="runs/abilities/walkers/$oracle-seed$SEED.safetensors"
  REBOUNDS+=",data/rebound_$oracle" seed=$((seed + 1))
done
for condition in frame stack video video_repeat video_shuffle; do
  train rebound $condition 2400 "$REBOUNDS" tasks=arm_rebound
done

HEADS="checkpoint=runs/abilities/heads/{condition}-seed{train_seed}.safetensors"
$BENCH run --policy neon_tiny --condition blind,frame,stack,video,video_repeat,video_shuffle --task $TASKS \
  --episodes "$EPISODES" --seed 0 --train-seeds "$SEED" --workers "$WORKERS" --out runs/abilities/run --resume "$HEADS"
$BENCH run --policy neon_tiny --condition frame,stack,video,video_repeat,video_shuffle --task arm_rebound \
  --episodes "$EPISODES" --seed 0 --train-seeds "$SEED" --workers "$WORKERS" --out runs/abilities/rebound_run --resume "${HEADS/heads/rebound}"
$BENCH certify --task $TASKS --policy neon_tiny --episodes "$EPISODES" --seed 1 --train-seeds "$SEED" \
  --workers "$WORKERS" --run runs/abilities/certificates "$HEADS"
$BENCH run --policy neon_tiny --suite claims --condition frame,video,video_repeat --episodes "$EPISODES" --seed 0 \
  --workers "$WORKERS" --out runs/claims --resume
