#!/usr/bin/env bash
# The first hour on a GPU, in steps of at most ten minutes. Each leaves its log and its result, whatever becomes of the others.
#
#     benchmarks/gpu.sh                     all steps, in order
#     benchmarks/gpu.sh throughput order    these steps alone, such as the next ones on a machine lent for minutes
#     SIZE=tiny benchmarks/gpu.sh           the same on the CPU, on toy data, in minutes: a rehearsal
#
# A step that ends with 124 was out of time. Steps: tests, throughput, order, shard-1 … shard-5 (a fifth of the suite each; the same command again resumes).
# OUT (default: gpu-hour) takes logs, steps.txt with the exit code and seconds of each step, and results.tgz, which holds all
# of it and the records. PYTHON (default: .venv/bin/python) needs mibench with its extras "dev" and "unet".
set -u
cd "$(dirname "$0")/.." || exit 2
SIZE=${SIZE:-full} OUT=${OUT:-gpu-hour} PYTHON=${PYTHON:-.venv/bin/python} LIMIT=${LIMIT:-600} WORKERS=${WORKERS:-3}
suite=leaderboards/images/gpu
data=data/cifar10-jpeg-20k.zip
throughput=(--network unet-cifar --batch 512)
order=(--batch 128 --precision bf16)
device=cuda
case $SIZE in
full) ;;
tiny)
  device=cpu suite=$OUT/suite data=$suite/suite.toml WORKERS=1
  throughput=(--network unet-tiny --batch 8 --steps 2)
  order=(--network unet-tiny --batch 2 --repetitions 3)
  mkdir -p "$suite"
  cat >"$suite/suite.toml" <<'TOML'
title = "Rehearsal of the first hour"
datasets = ["digits:members=20,nonmembers=20,reference=60"]
defenses = ["vp", "ve", "cld", "hold2", "hold3"]
attacks = ["loss:draws=2", "pia"]
controls = false
[recipe.digits]
network = "unet-tiny"
steps = 5
batch = 4
[utility]
samples = 100
evaluations = 4
TOML
  ;;
*)
  echo "SIZE=$SIZE: take full or tiny" >&2
  exit 2
  ;;
esac
[ $# -gt 0 ] || set -- tests throughput order shard-1 shard-2 shard-3 shard-4 shard-5
for step; do
  case $step in
  tests | throughput | order | shard-[1-5]) ;;
  *)
    echo "no step $step: take tests, throughput, order, or shard-1 to shard-5" >&2
    exit 2
    ;;
  esac
done
mkdir -p "$OUT"
failed=0
for step; do
  case $step in
  tests) command=(pytest -q -n 0 -m gpu -rs tests) ;;
  throughput) command=(benchmarks/throughput.py --device $device "${throughput[@]}") ;;
  order) command=(benchmarks/order_cost.py --device $device "${order[@]}") ;;
  shard-*)
    command=(mibench run "$suite" --shard "${step#shard-}/5" --device $device --workers "$WORKERS" --store "$OUT/store")
    if [ ! -e "$data" ]; then
      echo "$data is missing: bring it, then run $0 $step" | tee "$OUT/$step.log"
      echo "$step: 2, no data" >>"$OUT/steps.txt"
      failed=1
      continue
    fi
    ;;
  esac
  case ${command[0]} in *.py) ;; *) command=(-m "${command[@]}") ;; esac
  echo "== $step: ${command[*]}"
  began=$SECONDS
  timeout "$LIMIT" "$PYTHON" "${command[@]}" 2>&1 | tee "$OUT/$step.log"
  code=${PIPESTATUS[0]}
  echo "$step: $code, $((SECONDS - began)) s" >>"$OUT/steps.txt"
  [ "$code" = 0 ] || failed=1
  tar -czf "$OUT/results.tgz" "$OUT"/*.log "$OUT/steps.txt" $([ -d "$suite/records" ] && echo "$suite/records") 2>/dev/null
done
echo "== done; $OUT/results.tgz"
cat "$OUT/steps.txt"
exit $failed
