#!/usr/bin/env bash
# Ask, judge, compare: what action.yml runs. Writes runs/candidate, scsafety-run.tar.gz, junit.xml and comparison.json.
# Ends with scsafety's own codes: 1 incomplete, 2 bad input, 3 the gate failed.
set -euo pipefail

run=(scsafety run --model "$MODEL" --judge "${JUDGE:-offline}" --name candidate)
[ -z "${BASE_URL:-}" ] || run+=(--base-url "$BASE_URL")
[ -z "${JUDGE_BASE_URL:-}" ] || run+=(--judge-base-url "$JUDGE_BASE_URL")
[ -z "${ONLY:-}" ] || run+=(--only "$ONLY")
[ -z "${LIMIT:-}" ] || run+=(--limit "$LIMIT")
code=0
"${run[@]}" || code=$?
if [ "$code" -eq 1 ]; then scsafety resume candidate; elif [ "$code" -ne 0 ]; then exit "$code"; fi
tar -czf scsafety-run.tar.gz -C runs candidate

if [ -z "${BASELINE:-}" ]; then
  echo "no baseline: nothing is compared" >&2
  scsafety export candidate --scores markdown >> "${GITHUB_STEP_SUMMARY:-/dev/stdout}"
  exit 0
fi
if [ -f "$BASELINE" ]; then
  mkdir -p runs/baseline
  tar -xzf "$BASELINE" -C runs/baseline --strip-components=1
  BASELINE=runs/baseline
fi
scsafety export "$BASELINE" candidate --scores markdown >> "${GITHUB_STEP_SUMMARY:-/dev/stdout}"
compare=(scsafety compare "$BASELINE" candidate --junit junit.xml --json comparison.json)
[ -z "${FAIL_BELOW:-}" ] || compare+=(--fail-below "$FAIL_BELOW")
[ "${FAIL_ON_REGRESSION:-true}" != true ] || compare+=(--fail-on-regression)
exec "${compare[@]}"
