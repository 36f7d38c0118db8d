#!/usr/bin/env bash
# What does the latency weight do? 200 steps on drawn scenes with weight 0, the default and ten times the default: collapse is seen
# in minutes. Usage: experiments/latency_weight/run.sh [FOLDER]; NAS is the command to run (default: nas).
set -euo pipefail
out=${1:-runs/latency_weight}
nas=${NAS:-nas}
shape=(deploy.input=[96,128] deploy.init_channels=16)
mkdir -p "$out"
if [ ! -e "$out/table.json" ]; then
  "$nas" profile space=lgcnet "${shape[@]}" num_classes=11 rounds=20 out="$out/table.json"
fi
for seed in 0 1; do
  for weight in 0 0.1 1; do
    run="$out/weight_${weight}_seed_$seed"
    "$nas" search space=lgcnet data=synthetic data.size=[96,128] data.train=128 data.val=16 "${shape[@]}" \
      latency.table="$out/table.json" latency.weight="$weight" search.relaxation=sampled search.arch_lr=1e-2 \
      search.communication_lr=1e-4 search.batch_size=4 search.epochs=100 search.max_steps=200 search.eval_every=0 \
      trainer.threads=1 seed="$seed" out="$run" >"$run.log" 2>&1
    echo "weight $weight seed $seed: $(grep -E 'predicted latency' "$run.log" | xargs) | $(grep -E 'light operations' "$run.log" | xargs)"
  done
done
