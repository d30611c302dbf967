#!/usr/bin/env bash
# The tables of docs/RESULTS.md about the humanoid, the balance and the experts, from nothing. About two and
# a half hours on two cores; every step resumes where it was stopped. Three tasks share their heads, the
# follow and the alarm task have their own.
set -euo pipefail
cd "$(dirname "$0")/../.."
PY=${PY:-.venv/bin/python}
SEED=${SEED:-0}
EPISODES=${EPISODES:-200}
WORKERS=${WORKERS:-2}
OUT=${OUT:-runs/humanoid}
export OMP_NUM_THREADS=1
BENCH="$PY -m neon_sim.benchmarks.cli"
LADDER="video frame stack video_repeat video_shuffle blind"
ORACLES="oracle_memoryless oracle_history"

collect() {  # dataset tasks episodes seed key=value ...
  $PY -m neon_sim.collect task="$2" episodes="$3" seed="$4" workers="$WORKERS" out="data/$1" "${@:5}"
}
train() {  # heads condition steps datasets key=value ...
  $PY -m neon_sim.train policy="${POLICY:-neon_tiny}" condition="$2" seed="$SEED" steps="$3" data="$4" \
    window_stride=8 proprio_noise=0.05 out="$OUT/heads/$1" "${@:5}"
}
collect humanoid_fast humanoid_goalkeeper,humanoid_follow 2200 0
collect humanoid humanoid_reach,humanoid_handover 700 0
collect humanoid_reach humanoid_reach 1500 1
collect alarm humanoid_alarm 600 0

ALL=data/humanoid_fast,data/humanoid REACHES=data/humanoid,data/humanoid_reach
# DAgger: a history oracle walks, the expert says what it would have done
train walker oracle_history 1600 data/humanoid_fast tasks=humanoid_follow
collect follow_dagger humanoid_follow 1200 2 beta=0.0 condition=oracle_history \
  policy="$OUT/heads/walker/oracle_history-seed$SEED.safetensors"
FOLLOWS=data/humanoid_fast,data/follow_dagger
for condition in $LADDER; do
  train humanoid $condition 2400 $ALL
  train humanoid_follow $condition 1600 $FOLLOWS tasks=humanoid_follow
done
for condition in $ORACLES; do
  train humanoid $condition 6000 $ALL
  train humanoid_follow $condition 3000 $FOLLOWS tasks=humanoid_follow
  train humanoid_reach $condition 2500 $REACHES tasks=humanoid_reach
done
train humanoid_reach blind 1600 $REACHES tasks=humanoid_reach
for condition in video muted audio_only; do
  POLICY=neon_tiny_hear train humanoid_alarm $condition 1600 data/alarm
done

for task in humanoid_goalkeeper humanoid_handover; do ln -sfn humanoid "$OUT/heads/$task"; done
SEEDS=(--train-seeds "$SEED" --workers "$WORKERS")
HEADS="checkpoint=$OUT/heads/{task}/{condition}-seed{train_seed}.safetensors"
$BENCH run --policy neon_tiny --condition "${LADDER// /,},repeat_at_test,shuffle_at_test" --episodes "$EPISODES" \
  --task humanoid_goalkeeper,humanoid_handover,humanoid_follow --seed 0 "${SEEDS[@]}" --out "$OUT/run" --resume "$HEADS"
$BENCH run --policy neon_tiny --condition "${LADDER// /,},repeat_at_test,shuffle_at_test" --episodes "$EPISODES" \
  --task humanoid_reach --seed 0 "${SEEDS[@]}" --out "$OUT/reach" --resume "${HEADS/\{task\}/humanoid}"
$BENCH run --policy neon_tiny_hear --condition video,muted,audio_only,mute_at_test,swap_audio_at_test \
  --task humanoid_alarm --episodes "$EPISODES" --seed 0 "${SEEDS[@]}" --out "$OUT/alarm" --resume "$HEADS"
TIMED=humanoid_goalkeeper,humanoid_handover,humanoid_follow,humanoid_reach
for pair in neon_tiny:$TIMED neon_tiny_hear:humanoid_alarm; do
  $BENCH certify --task "${pair#*:}" --policy "${pair%:*}" --episodes "$EPISODES" --seed 1 "${SEEDS[@]}" \
    --run "$OUT/certificates" "$HEADS"
done

$PY -m neon_sim.benchmarks.balance episodes="$EPISODES" impulses=[5.0,10.0,13.0,15.0] out=runs/balance.json
$BENCH run --policy expert --suite all --episodes "$EPISODES" --seed 0 --workers "$WORKERS" --out runs/experts --resume
$BENCH run --policy expert --task humanoid_goalkeeper,humanoid_handover --episodes "$EPISODES" --seed 0 \
  --workers "$WORKERS" --out runs/standing --resume lower=standing
