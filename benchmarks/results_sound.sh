#!/usr/bin/env bash
# The tables of docs/RESULTS.md about hearing, from nothing: demonstrations, heads, runs, the curve of
# arm_latch and the certificates. Every step resumes where it was stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
PY=${PY:-.venv/bin/python}
SEEDS=${SEEDS:-"0 1 2"}
EPISODES=${EPISODES:-200}
WORKERS=${WORKERS:-2}
OUT=${OUT:-runs/sound}
export OMP_NUM_THREADS=1
BENCH="$PY -m neon_sim.benchmarks.cli"
HEADS="checkpoint=$OUT/heads/{condition}-seed{train_seed}.safetensors"
TASKS=arm_rattle,arm_ringing,arm_material,arm_tone_order,arm_latch,arm_spoken,arm_audio_visual

$PY -m neon_sim.collect task=$TASKS episodes=400 seed=0 workers="$WORKERS" out=data/sound
for seed in $SEEDS; do
  for condition in video muted audio_only; do
    $PY -m neon_sim.train policy=neon_tiny_hear condition=$condition seed="$seed" steps=2000 \
      data=data/sound window_stride=8 proprio_noise=0.05 out="$OUT/heads"
  done
done
$BENCH run --policy neon_tiny_hear --suite sound --episodes "$EPISODES" --seed 0 \
  --condition video,muted,audio_only,mute_at_test,swap_audio_at_test --train-seeds "${SEEDS// /,}" \
  --workers "$WORKERS" --out "$OUT/run" --resume "$HEADS"
$BENCH run --policy neon_tiny_hear --suite sound --episodes "$EPISODES" --seed 0 \
  --condition video,delay_audio_at_test,snr20_at_test,snr10_at_test,snr0_at_test \
  --workers "$WORKERS" --out "$OUT/disturbed" --resume "$HEADS"
$BENCH run --policy neon_tiny_hear --task arm_latch --episodes "$EPISODES" --seed 0 --condition video \
  --replan-steps 1,4,8,16 --latency-steps 0,4,8 --workers "$WORKERS" --out "$OUT/latch" --resume "$HEADS"
$BENCH certify --suite sound --policy neon_tiny_hear --episodes "$EPISODES" --seed 1 \
  --run "$OUT/certificates" "$HEADS"
