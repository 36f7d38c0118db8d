#!/usr/bin/env bash
# What does the latency weight do? 200 steps on drawn scenes with weight 0, the default and ten times the default: collapse is seen
# in minutes. Usage: experiments/latency_weight/run.sh [FOLDER]; NAS is the command to run (default: nas).
set -euo pipefail
out=${1:-runs/latency_weight}
nas=${NAS:-nas}
mkdir -p "$out"
if [ ! -e "$out/table.json" ]; then
  "$nas" profile recipe=latency_weight rounds=20 out="$out/table.json"
fi
for seed in 0 1; do
  for weight in 0 0.1 1; do
    run="$out/weight_${weight}_seed_$seed"
    "$nas" search recipe=latency_weight latency.table="$out/table.json" latency.weight="$weight" seed="$seed" out="$run" \
      >"$run.log" 2>&1
    echo "weight $weight seed $seed: $(grep -E 'predicted latency' "$run.log" | xargs) | $(grep -E 'light operations' "$run.log" | xargs)"
  done
done
