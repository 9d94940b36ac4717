#!/usr/bin/env bash
# The questions that need a GPU, one after another: gpu.sh [QUESTION...]
# By default every question that fits the GPUs here, the worthiest first. One that this machine has answered in RESULTS
# is skipped, so that the same command goes on after an interruption; a failing one is told and the next begins.
#   RESULTS  the folder of the results (benchmarks/results); an empty one measures everything anew
#   LOGS     the folder of what the questions print (a new one under TMPDIR)
#   LIMIT    seconds after which nothing is left running (none)
#   REPEATS  rounds of all arms (each question's own)
#   PYTHON   the interpreter (python3), which finds vllm, lm_eval, peft, bitsandbytes and, for two arms, trl
#   QUICK=1  tiny versions that only show that the scripts work; RESULTS must then be named
# Seconds on one H100, the models lying in BENCH_CACHE and the data in BENCH_DATASETS: verdict 800 (an H200), generation 480, equality 330,
# cold_start 600, training 350, training_profile 120, study 500, training_small 120, startup 400; scaling with four GPUs 550.
set -uo pipefail
house=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3} logs=${LOGS:-$(mktemp -d)} limit=${LIMIT:-}
results=${RESULTS:-$house/benchmarks/results}
mkdir -p "$results" "$logs"
results=$(cd "$results" && pwd) logs=$(cd "$logs" && pwd)
export PYTHONPATH=$house${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
cd "$house" || exit 1

gpus=$(nvidia-smi --list-gpus 2> /dev/null | grep -c '^GPU')
if [ $# -gt 0 ]; then
    questions=("$@")
elif [ "$gpus" -gt 1 ]; then
    questions=(scaling)
else
    questions=(verdict generation equality cold_start training training_profile training_small study startup)
fi

words=(--results "$results")
[ -n "${REPEATS:-}" ] && words+=(--repeats "$REPEATS")
[ -n "${QUICK:-}" ] && words+=(--quick)

failed=()
for question in "${questions[@]}"; do
    if "$python" -m benchmarks._told "$results" has "$question"; then
        echo "$question: answered before"
        continue
    fi
    left=$((${limit:-86400} - SECONDS))
    if [ "$left" -le 0 ]; then
        echo "$question: not begun, LIMIT is over"
        failed+=("$question")
        continue
    fi
    began=$SECONDS
    # One GPU asks what one GPU is asked, however many are there.
    visible=${CUDA_VISIBLE_DEVICES:-0}
    [ "$question" = scaling ] && visible=${CUDA_VISIBLE_DEVICES:-}
    if (
        if [ -n "$visible" ]; then export CUDA_VISIBLE_DEVICES=$visible; fi
        exec timeout -s INT -k 20 "$left" "$python" -m "benchmarks.$question" "${words[@]}"
    ) > "$logs/$question.log" 2>&1; then
        echo "$question: answered in $((SECONDS - began)) s"
    else
        echo "$question: FAILED after $((SECONDS - began)) s"
        tail -n 15 "$logs/$question.log" | cut -c1-300
        failed+=("$question")
    fi
done

echo
"$python" -m benchmarks._told "$results" table
echo "logs: $logs"
if [ ${#failed[@]} -gt 0 ]; then
    echo "without an answer: ${failed[*]}"
    exit 1
fi
