#!/usr/bin/env bash
# The tables of docs/RESULTS.md about the remaining abilities, the humanoid and its balance, and the
# claims, from nothing. Every step resumes where it was stopped. Needs the heads of results.sh for the
# claims that older tasks back.
set -euo pipefail
cd "$(dirname "$0")/.."
PY=${PY:-.venv/bin/python}
SEEDS=${SEEDS:-"0"}
EPISODES=${EPISODES:-200}
WORKERS=${WORKERS:-2}
export OMP_NUM_THREADS=1
BENCH="$PY -m neon_sim.benchmarks.cli"
LADDER="blind frame stack video video_repeat video_shuffle"

$PY -m neon_sim.collect task=arm_shell_game,arm_rebound,arm_parallax,arm_swing episodes=800 seed=0 \
  workers="$WORKERS" out=data/abilities
$PY -m neon_sim.collect task=humanoid_reach,humanoid_goalkeeper,humanoid_handover,humanoid_follow \
  episodes=600 seed=0 workers="$WORKERS" out=data/humanoid

train() {  # dataset condition seed steps
  $PY -m neon_sim.train policy=neon_tiny condition="$2" seed="$3" steps="$4" data="data/$1" \
    window_stride=8 proprio_noise=0.05 out="runs/$1/heads"
}
for set in abilities humanoid; do
  for seed in $SEEDS; do
    for condition in $LADDER; do train $set "$condition" "$seed" 2400; done
  done
  for condition in oracle_memoryless oracle_history; do train $set "$condition" 0 3000; done
done

ladder() {  # dataset tasks
  local heads="checkpoint=runs/$1/heads/{condition}-seed{train_seed}.safetensors"
  $BENCH run --policy neon_tiny --condition "${LADDER// /,}" --task "$2" --episodes "$EPISODES" \
    --seed 0 --train-seeds "${SEEDS// /,}" --workers "$WORKERS" --out "runs/$1/run" --resume "$heads"
  $BENCH certify --task "$2" --episodes "$EPISODES" --seed 1 --run "runs/$1/certificates" "$heads"
}
ladder abilities arm_shell_game,arm_rebound,arm_parallax,arm_swing
ladder humanoid humanoid_reach,humanoid_goalkeeper,humanoid_handover,humanoid_follow
$BENCH run --policy neon_tiny --suite claims --condition frame,video,video_repeat \
  --episodes "$EPISODES" --seed 0 --workers "$WORKERS" --out runs/claims --resume
$PY -m neon_sim.benchmarks.balance episodes="$EPISODES" out=runs/balance.json
