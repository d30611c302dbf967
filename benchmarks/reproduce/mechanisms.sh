#!/usr/bin/env bash
# The two tables of docs/RESULTS.md about mechanisms and encoders, from nothing. One training seed each;
# about three hours on two cores, most of it for the encoders; every step resumes where it was stopped.
#   A: temporal mechanisms over the same frozen tokens of single frames, one budget of parameters.
#   B: encoders of the field beside neon_tiny, and two streams with estimated and with exact flow, all on
#      the same smaller set of demonstrations.
set -euo pipefail
cd "$(dirname "$0")/../.."
PY=${PY:-.venv/bin/python}
EPISODES=${EPISODES:-200}
WORKERS=${WORKERS:-2}
OUT=${OUT:-runs/mechanisms}
export OMP_NUM_THREADS=1

MECHANISMS="mech_single_frame mech_late_mean mech_none mech_static_drop mech_late_concat mech_early
  mech_conv3d mech_inflated mech_two_stream mech_cnn_gru mech_conv_gru mech_temporal_shift
  mech_non_local mech_divided_attention mech_q_former mech_memory_tokens"
TWO_STREAMS="mech_two_stream mech_two_stream_flow"
ENCODERS="neon_tiny:frame,stack,video efficientnet_lite0:frame,stack transnetv2:video"
OVER_EFFICIENTNET="late_concat inflated two_stream cnn_gru temporal_shift"

$PY -m neon_sim.collect task=arm_catch,arm_occluded episodes=1500 seed=0 workers="$WORKERS" out=data/demos_fast
$PY -m neon_sim.collect task=arm_catch episodes=2500 seed=1 workers="$WORKERS" out=data/demos_catch
$PY -m neon_sim.collect task=arm_reach,arm_pick_place,arm_block,arm_conveyor_pick episodes=800 seed=0 \
  workers="$WORKERS" out=data/demos
$PY -m neon_sim.collect task=arm_reach,arm_pick_place,arm_block,arm_catch,arm_conveyor_pick,arm_occluded \
  episodes=400 seed=0 flow=true workers="$WORKERS" out=data/demos_small

train() {  # table folder policy condition datasets key=value ...
  $PY -m neon_sim.train policy="$3" condition="$4" seed=0 steps=1200 data="$5" \
    window_stride=8 proprio_noise=0.05 out="$OUT/$1/heads/$2" "${@:6}"
}
evaluate() {  # table folder policies conditions key=value ...
  $PY -m neon_sim.benchmarks.cli run --policy "$3" --condition "$4" --suite arm --episodes "$EPISODES" \
    --seed 0 --workers "$WORKERS" --out "$OUT/$1/$2" --resume \
    "checkpoint=$OUT/$1/heads/{policy}/{condition}-seed{train_seed}.safetensors" "${@:5}"
}
for policy in $MECHANISMS; do
  train A "$policy" "$policy" stack data/demos_fast,data/demos_catch,data/demos
done
evaluate A run "$(echo $MECHANISMS | tr ' ' ',')" stack
for policy in $TWO_STREAMS; do train B "$policy" "$policy" stack data/demos_small; done
evaluate B mechanisms "$(echo $TWO_STREAMS | tr ' ' ',')" stack
for pair in $ENCODERS; do
  policy=${pair%:*}
  for condition in $(echo "${pair#*:}" | tr ',' ' '); do
    train B "$policy" "$policy" "$condition" data/demos_small
  done
  evaluate B "$policy" "$policy" "${pair#*:}"
done
for mechanism in $OVER_EFFICIENTNET; do
  name=efficientnet_lite0_$mechanism
  train B "$name" efficientnet_lite0 stack data/demos_small policy.temporal="$mechanism" policy.name="$name"
  evaluate B "$name" efficientnet_lite0 stack temporal="$mechanism" name="$name"
done
