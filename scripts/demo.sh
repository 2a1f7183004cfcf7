#!/usr/bin/env bash
# The engine at work on this machine alone: SMC's twelve example events and a stream of made-up ones go in, communications come out,
# and a campaign is swapped on the way. Ends by itself.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -z "${CARGO_TARGET_DIR:-}" ] || CARGO_TARGET_DIR=$(realpath -m "$CARGO_TARGET_DIR")
work=$(mktemp -d)
engine=
trap '[ -z "$engine" ] || kill "$engine" 2>/dev/null || true; rm -rf "$work"' EXIT
hailer=${CARGO_TARGET_DIR:-target}/debug/hailer
# What the last part keeps stays here, to be looked at afterwards.
kept=${CARGO_TARGET_DIR:-target}/demo
rm -rf "$kept"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# Waits until a command succeeds, for at most a minute.
until_true() {
  local tries=0
  until "$@"; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || { echo "gave up waiting for: $*" >&2; cat "$work/log" >&2; exit 1; }
    sleep 0.1
  done
}
sent() { [ -f "$work/out.jsonl" ] && wc -l <"$work/out.jsonl" || echo 0; }
sent_more_than() { [ "$(sent)" -gt "$1" ]; }
sent_by_new_version() { grep -q '"template":"vip-basket"' "$work/out.jsonl"; }

say "1. Building the engine and its example campaigns"
cargo build --package hailer
scripts/rules.sh "$work/rules.d"

say "2. Starting the engine; its events come through a pipe"
mkfifo "$work/events"
"$hailer" run --source - --sink "file:$work/out.jsonl" --rules "$work/rules.d" --data "$work/data" --listen "" \
  <"$work/events" 2>"$work/log" &
engine=$!
exec 3>"$work/events"
until_true "$hailer" campaigns --data "$work/data" >/dev/null 2>&1
"$hailer" campaigns --data "$work/data"

say "3. SMC's twelve example events go in, to the byte: the one with the trailing comma too"
"$hailer" events --samples >&3
until_true sent_more_than 8
cat "$work/out.jsonl"

say "4. A stream of 20,000 events, and a campaign that is swapped while it runs"
before=$(sent)
"$hailer" events --generate 10000 --seed 1 >&3
until_true sent_more_than "$before"
echo "editing big-basket.toml: from 500.00 on, with another template"
sed -e 's/^template *=.*//' -e 's/^threshold *=.*//' "$work/rules.d/big-basket.toml" >"$work/edited"
grep -q '^\[params\]' "$work/edited" || echo '[params]' >>"$work/edited"
printf 'threshold = "500.00"\ntemplate = "vip-basket"\n' >>"$work/edited"
mv "$work/edited" "$work/rules.d/big-basket.toml"
"$hailer" reload --data "$work/data"
"$hailer" events --generate 10000 --seed 2 >&3
until_true sent_by_new_version
grep '"campaign":"big-basket"' "$work/out.jsonl" | grep -o '"template":"[^"]*"' | sort | uniq -c

say "5. The end of the input"
exec 3>&-
status=0
wait "$engine" || status=$?
engine=
grep -vE '^[0-9]{4}-' "$work/log" || true
[ "$status" -eq 0 ] || { echo "the engine ended with status $status" >&2; cat "$work/log" >&2; exit "$status"; }
echo "$(sent) communications"

say "6. Rules remember and act later: 121 begins to register and gets a nudge after an hour, 122 finishes and does not"
started=1772323200000 # 2026-03-01T00:00:00Z, and the clock goes by the events from there on
begins() { printf '{"timestamp":%s,"body":"{\\"eventCode\\":\\"%s\\",\\"customerInfo\\":{\\"customerId\\":%s}}"}\n' "$1" "$2" "$3"; }
{
  begins $started OnBeginRegistration 121
  begins $((started + 60000)) OnBeginRegistration 122
  begins $((started + 1800000)) OnEndRegistration 122
} >"$work/registrations.jsonl"
"$hailer" run --source "file:$work/registrations.jsonl" --sink - --rules "$work/rules.d" --data "$kept" \
  --store "$kept/store" --create-store --clock events --run-on-minutes 120 2>/dev/null | grep abandoned-registration

say "7. Why did 121 get it, and 122 not?"
"$hailer" why 121 --campaign abandoned-registration --data "$kept" --utc
"$hailer" why 122 --campaign abandoned-registration --data "$kept" --utc

echo
echo "Ask yourself: $hailer why 121 --data $kept"
echo "Try it yourself: make rules && cargo run -p hailer -- run --source file:EVENTS.jsonl --sink - --rules target/rules.d"
