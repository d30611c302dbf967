#!/usr/bin/env bash
# The tables of docs/RESULTS.md about the further abilities, the humanoid, the claims and the balance, from
# nothing. About two hours on two cores; every step resumes where it was stopped. The claims need the
# shipped heads of the older tasks beside the ones made here.
set -euo pipefail
cd "$(dirname "$0")/.."
PY=${PY:-.venv/bin/python}
SEED=${SEED:-0}
EPISODES=${EPISODES:-200}
WORKERS=${WORKERS:-2}
export OMP_NUM_THREADS=1
BENCH="$PY -m neon_sim.benchmarks.cli"
ARM=arm_shell_game,arm_rebound,arm_parallax,arm_swing
HUMANOID=humanoid_reach,humanoid_goalkeeper,humanoid_handover

collect() {  # dataset tasks episodes seed
  $PY -m neon_sim.collect task="$2" episodes="$3" seed="$4" workers="$WORKERS" out="data/$1"
}
collect abilities $ARM 800 0
collect rebound arm_rebound 2500 1
collect humanoid_fast humanoid_goalkeeper,humanoid_follow 2200 0
collect humanoid humanoid_reach,humanoid_handover 700 0
collect humanoid_reach humanoid_reach 1500 1
collect alarm humanoid_alarm 600 0

train() {  # heads policy condition steps datasets key=value ...
  $PY -m neon_sim.train policy="$2" condition="$3" seed="$SEED" steps="$4" data="$5" \
    window_stride=8 proprio_noise=0.05 out="runs/$1/heads" "${@:6}"
}
for condition in frame stack video video_repeat oracle_memoryless oracle_history; do
  train abilities neon_tiny $condition 2400 data/abilities,data/rebound
done
train abilities neon_tiny blind 1600 data/abilities,data/rebound
WALKS=data/humanoid_fast,data/humanoid
for condition in video frame; do train humanoid neon_tiny $condition 2400 $WALKS; done
for condition in oracle_memoryless oracle_history; do
  train humanoid neon_tiny $condition 6000 $WALKS
  train humanoid_reach neon_tiny $condition 2500 data/humanoid,data/humanoid_reach tasks=humanoid_reach
done
train humanoid neon_tiny blind 1600 $WALKS
# DAgger: the history oracle walks, the expert says what it would have done
$PY -m neon_sim.collect task=humanoid_follow episodes=1200 seed=2 beta=0.0 condition=oracle_history \
  policy=runs/humanoid/heads/oracle_history-seed$SEED.safetensors workers="$WORKERS" out=data/follow_dagger
FOLLOWS=data/humanoid_fast,data/follow_dagger
for condition in video frame blind; do
  train humanoid_follow neon_tiny $condition 1600 $FOLLOWS tasks=humanoid_follow
done
for condition in oracle_memoryless oracle_history; do
  train humanoid_follow neon_tiny $condition 3000 $FOLLOWS tasks=humanoid_follow
done
train humanoid_reach neon_tiny blind 1600 data/humanoid,data/humanoid_reach tasks=humanoid_reach
for condition in video muted audio_only; do train alarm neon_tiny_hear $condition 1600 data/alarm; done

heads_of() { echo "checkpoint=runs/$1/heads/{condition}-seed{train_seed}.safetensors"; }
measure() {  # heads policy conditions tasks
  $BENCH run --policy "$2" --condition "$3" --task "$4" --episodes "$EPISODES" --seed 0 \
    --train-seeds "$SEED" --workers "$WORKERS" --out "runs/$1/run" --resume "$(heads_of "$1")"
}
certify() {  # heads policy tasks
  $BENCH certify --task "$3" --policy "$2" --episodes "$EPISODES" --seed 1 --train-seeds "$SEED" \
    --workers "$WORKERS" --run "runs/$1/certificates" "$(heads_of "$1")"
}
measure abilities neon_tiny blind,frame,stack,video,video_repeat $ARM
certify abilities neon_tiny $ARM
measure humanoid neon_tiny blind,frame,video $HUMANOID
certify humanoid neon_tiny humanoid_goalkeeper,humanoid_handover
measure humanoid_follow neon_tiny frame,video humanoid_follow
certify humanoid_follow neon_tiny humanoid_follow
certify humanoid_reach neon_tiny humanoid_reach
measure alarm neon_tiny_hear video,muted,swap_audio_at_test humanoid_alarm
certify alarm neon_tiny_hear humanoid_alarm
$BENCH run --policy neon_tiny --suite claims --condition frame,video,video_repeat --episodes "$EPISODES" --seed 0 \
  --workers "$WORKERS" --out runs/claims --resume
$PY -m neon_sim.benchmarks.balance episodes="$EPISODES" impulses=[5.0,10.0,13.0,15.0] out=runs/balance.json
$BENCH run --policy expert --suite all --episodes "$EPISODES" --seed 0 --workers "$WORKERS" --out runs/experts --resume
$BENCH run --policy expert --task humanoid_goalkeeper,humanoid_handover --episodes "$EPISODES" --seed 0 \
  --workers "$WORKERS" --out runs/standing --resume lower=standing
