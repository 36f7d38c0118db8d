#!/usr/bin/env bash
# The main job on drawn street scenes: measure this machine, search, derive, retrain, evaluate, export, look at it.
# Usage: experiments/demo/run.sh [FOLDER]; NAS is the command to run (default: nas).
set -euo pipefail
out=${1:-runs/demo}
nas=${NAS:-nas}
if [ -e "$out" ]; then
  echo "$out exists; remove it or name another folder: experiments/demo/run.sh FOLDER" >&2
  exit 2
fi
step() { printf '\n\033[1m$ nas %s\033[0m\n' "$*"; "$nas" "$@"; }

scenes=(data=synthetic data.size=[96,128] data.train=256 data.val=32 data.test=32)
shape=(deploy.input=[96,128] deploy.init_channels=16)
one_thread=(trainer.threads=1) # the maps are small: a second thread gains little, and loses much on a machine that does other work
mkdir -p "$out"

step profile space=lgcnet "${shape[@]}" num_classes=11 rounds=10 out="$out/table.json"
step search space=lgcnet "${scenes[@]}" "${shape[@]}" latency.table="$out/table.json" \
  search.epochs=12 search.warmup_epochs=2 search.batch_size=8 search.relaxation=sampled search.arch_lr=2e-2 search.communication_lr=1e-4 \
  search.eval_every=4 "${one_thread[@]}" out="$out/search"
step derive run="$out/search"
step show genotype="$out/search/genotype.yaml" latency.table="$out/table.json" out="$out/architecture.png"
step predict genotype="$out/search/genotype.yaml" latency.table="$out/table.json" out="$out/prediction"
step train genotype="$out/search/genotype.yaml" "${scenes[@]}" train.epochs=20 train.batch_size=8 train.lr=0.05 \
  train.loss=cross_entropy train.eval_every=5 "${one_thread[@]}" \
  out="$out/train"
step eval run="$out/train" "${scenes[@]}" "${one_thread[@]}"
step export run="$out/train"
printf '\nlook at %s and %s\n' "$out/architecture.png" "$out/train/predictions/"
