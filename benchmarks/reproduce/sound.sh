#!/usr/bin/env bash
# The tables of docs/RESULTS.md about hearing, from nothing: demonstrations, heads, runs, the curve of
# arm_latch and the certificates. About an hour and a half on two cores; every step resumes where it was stopped.
# Several sets of heads: one for most tasks, and one each for those that need more demonstrations, or a window
# every 4 control steps (arm_latch).
set -euo pipefail
cd "$(dirname "$0")/../.."
PY=${PY:-.venv/bin/python}
SEED=${SEED:-0}
EPISODES=${EPISODES:-200}
WORKERS=${WORKERS:-2}
OUT=${OUT:-runs/sound}
export OMP_NUM_THREADS=1
BENCH="$PY -m neon_sim.benchmarks.cli"
PAIR=arm_rattle,arm_audio_visual
ALL=arm_ringing,arm_material,arm_tone_order,arm_latch,arm_spoken,$PAIR

collect() {  # dataset tasks episodes seed
  $PY -m neon_sim.collect task="$2" episodes="$3" seed="$4" workers="$WORKERS" out="data/$1"
}
collect sound $ALL 400 0
collect sound_pair $PAIR 600 0
collect spoken arm_spoken 2000 1

train() {  # heads policy condition stride steps key=value ...
  $PY -m neon_sim.train policy="$2" condition="$3" seed="$SEED" steps="$5" window_stride="$4" \
    proprio_noise=0.05 out="$OUT/$1" "${@:6}"
}
for condition in video muted audio_only; do
  train heads neon_tiny_hear $condition 8 2000 data=data/sound
  train heads_latch neon_tiny_hear $condition 4 1500 data=data/sound tasks=arm_latch
  train heads_pair neon_tiny_hear $condition 8 1600 data=data/sound_pair
done
for condition in video muted; do
  train heads_spoken neon_tiny_speech $condition 8 2500 data=data/sound,data/spoken tasks=arm_spoken
done
train heads_spoken_mel neon_tiny_hear video 8 2500 data=data/sound,data/spoken tasks=arm_spoken

mkdir -p "$OUT/bytask"
for task in ${ALL//,/ }; do
  case $task in
    arm_latch) heads=heads_latch ;;
    arm_rattle | arm_audio_visual) heads=heads_pair ;;
    *) heads=heads ;;
  esac
  ln -sfn "../$heads" "$OUT/bytask/$task"
done
HEADS="checkpoint=$OUT/bytask/{task}/{condition}-seed{train_seed}.safetensors"

run() {  # folder policy conditions tasks heads option ...
  $BENCH run --policy "$2" --condition "$3" --task "$4" --episodes "$EPISODES" --seed 0 \
    --train-seeds "$SEED" --workers "$WORKERS" --out "$OUT/$1" --resume "$5" "${@:6}"
}
AT_TEST=mute_at_test,swap_audio_at_test
run run neon_tiny_hear video,muted,audio_only,$AT_TEST $ALL "$HEADS"
run spoken neon_tiny_speech video,muted,$AT_TEST arm_spoken \
  "checkpoint=$OUT/heads_spoken/{condition}-seed{train_seed}.safetensors"
run spoken_mel neon_tiny_hear video arm_spoken \
  "checkpoint=$OUT/heads_spoken_mel/{condition}-seed{train_seed}.safetensors"
EPISODES=100 run latch neon_tiny_hear video arm_latch "$HEADS" --replan-steps 1,4,8,16 --latency-steps 0,8
$BENCH certify --suite sound --policy neon_tiny_hear --episodes 100 --seed 1 --train-seeds "$SEED" \
  --workers "$WORKERS" --run "$OUT/certificates" "$HEADS"
