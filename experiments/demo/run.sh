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

mkdir -p "$out"

step profile recipe=demo rounds=10 out="$out/table.json"
step search recipe=demo latency.table="$out/table.json" out="$out/search"
step derive run="$out/search"
step show genotype="$out/search/genotype.yaml" latency.table="$out/table.json" out="$out/architecture.png"
step predict genotype="$out/search/genotype.yaml" latency.table="$out/table.json" out="$out/prediction"
step train recipe=demo genotype="$out/search/genotype.yaml" out="$out/train"
step eval run="$out/train" trainer.threads=1
step export run="$out/train"
printf '\nlook at %s and %s\n' "$out/architecture.png" "$out/train/predictions/"
