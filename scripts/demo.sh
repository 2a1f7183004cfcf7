#!/usr/bin/env bash
# Show the engine at work on this machine, on one screen: what goes in, what comes out, and why.
# The steps: run SMC's twelve example events; change a campaign while 20,000 generated events run;
# fire a timer; judge messages by policies; explain each decision. The demo ends by itself and needs
# no broker.
# It leaves its campaigns and its store in target/demo, for the commands that it prints last.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -z "${CARGO_TARGET_DIR:-}" ] || CARGO_TARGET_DIR=$(realpath -m "$CARGO_TARGET_DIR")
target=${CARGO_TARGET_DIR:-target}
hailer=$target/debug/hailer
kept=$target/demo
rules=$kept/rules.d
data=$kept/data
work=$(mktemp -d)
engine=
trap '[ -z "$engine" ] || kill "$engine" 2>/dev/null || true; rm -rf "$work"' EXIT

bold= plain=
[ ! -t 1 ] || bold=$'\033[1m' plain=$'\033[0m'
heading() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

# Prints one line for a long step, and the output of its command only if the command fails.
step() {
  local title=$1 start=$SECONDS
  shift
  printf '%s ... ' "$title"
  if ! "$@" >"$work/step" 2>&1; then
    printf 'failed:\n'
    cat "$work/step" >&2
    exit 1
  fi
  printf 'done in %d s\n' $((SECONDS - start))
}

# Runs the command again until it succeeds, for at most one minute.
wait_until() {
  local tries=0
  until "$@"; do
    tries=$((tries + 1))
    if [ "$tries" -ge 600 ]; then
      echo "demo: gave up waiting for: $*" >&2
      cat "$work/log" >&2
      exit 1
    fi
    sleep 0.1
  done
}

# Shows a command as a user would type it, then its output, wrapped at 98 columns. Empty lines and
# the remark that nothing older is kept are left out.
show() {
  printf '$ %s\n' "$*"
  "$@" | sed -e '/^$/d' -e '/^not shown: /d' | awk -v most=98 '
    { match($0, /^ */); hang = RLENGTH + 4
      while (length($0) > most) {
        for (cut = most; cut > hang && substr($0, cut, 1) != " ";) cut--
        if (cut == hang) break
        print "  " substr($0, 1, cut - 1)
        $0 = sprintf("%*s%s", hang, "", substr($0, cut + 1))
      }
      print "  " $0 }'
}

# Prints "CODE channel template" for each communication in a file.
communications() {
  sed -E 's/.*"channel":"([^"]*)","template":"([^"]*)".*"eventCode":"([^"]*)".*/\3 \1 \2/' "$1"
}

rm -rf "$kept"
mkdir -p "$kept"
step "Building the engine (some minutes the first time)" \
  "${CARGO:-cargo}" build --package hailer
step "Building the example campaigns" scripts/rules.sh "$rules"
# The policies know quiet hours. Until part 4 they are left out, so that the demo is the same by day
# and by night.
mv "$rules/policies.toml" "$work/policies.toml"

"$hailer" events --samples >"$work/samples.jsonl"
step "Running SMC's twelve example events through them" \
  "$hailer" run --source "file:$work/samples.jsonl" --sink "file:$work/samples.out" \
  --rules "$rules" --data "$data"

heading "1. What goes in, and what comes out"
printf '  %-30s %s\n' "EVENT" "COMMUNICATIONS (channel and template)"
communications "$work/samples.out" >"$work/sent"
sed -E 's/.*\\"eventCode\\": *\\"([A-Za-z]+)\\".*/\1/' "$work/samples.jsonl" |
  awk 'NR == FNR { sent[$1] = sent[$1] (sent[$1] ? ", " : "") $2 " " $3; next }
    { printf "  %-30s %s\n", $1, sent[$1] ? sent[$1] : "none" }' "$work/sent" -

heading "2. A campaign changes while 20,000 generated events run through the engine"
mkfifo "$work/events"
"$hailer" run --source - --sink "file:$work/out.jsonl" --rules "$rules" --data "$data" \
  --listen "" <"$work/events" 2>"$work/log" &
engine=$!
exec 3>"$work/events"
has_sent() { grep -qs "\"template\":\"$1\"" "$work/out.jsonl"; }
wait_until "$hailer" campaigns --data "$data" >/dev/null 2>&1
"$hailer" events --generate 10000 --seed 1 >&3
wait_until has_sent big-basket
echo "  big-basket.toml now has: threshold = \"500.00\" and template = \"vip-basket\""
sed -e 's/^template *=.*//' -e 's/^threshold *=.*//' "$rules/big-basket.toml" >"$work/edited"
grep -q '^\[params\]' "$work/edited" || echo '[params]' >>"$work/edited"
printf 'threshold = "500.00"\ntemplate = "vip-basket"\n' >>"$work/edited"
mv "$work/edited" "$rules/big-basket.toml"
show "$hailer" reload --data "$data"
"$hailer" events --generate 10000 --seed 2 >&3
wait_until has_sent vip-basket
# The end of the input ends the engine.
exec 3>&-
status=0
wait "$engine" || status=$?
engine=
if [ "$status" -ne 0 ]; then
  echo "demo: the engine ended with status $status" >&2
  cat "$work/log" >&2
  exit "$status"
fi
grep -E '^[0-9]+ events, ' "$work/log" | sed 's/^/  /'
communications "$work/out.jsonl" | awk '
  $3 == "big-basket" { before++ } $3 == "vip-basket" { after++ }
  END { printf "  of big-basket: %d before the change, %d after it\n", before, after }'

heading "3. A timer fires after an hour: why does customer 121 get a nudge, and 122 none?"
started=1772323200000 # 2026-03-01T00:00:00Z; the timestamps of the events set the clock
registration() {
  printf '{"timestamp":%s,"body":{"eventCode":"%s","customerInfo":{"customerId":%s}}}\n' "$@"
}
{
  registration $started OnBeginRegistration 121
  registration $((started + 60000)) OnBeginRegistration 122
  registration $((started + 1800000)) OnEndRegistration 122
} >"$work/registrations.jsonl"
"$hailer" run --source "file:$work/registrations.jsonl" --sink "file:$work/timers.jsonl" \
  --rules "$rules" --data "$data" --store "$data/store" --create-store \
  --clock events --run-on-minutes 120 2>"$work/log" || { cat "$work/log" >&2; exit 1; }

show "$hailer" why 121 --campaign abandoned-registration --data "$data" --utc
show "$hailer" why 122 --campaign abandoned-registration --data "$data" --utc

heading "4. Policies: customer 131 buys three times on one day, and once more at 23:30 Moscow time"
echo "  rules/policies.toml has: two messages a day at most, and quiet hours from 22:00 to 09:00"
mv "$work/policies.toml" "$rules/policies.toml"
day=1772438400000 # 2026-03-02T08:00:00Z, which is 11:00 in Moscow
purchase() {
  local info='{"type":"PurchaseData","purchaseData":{"purchaseId":%s,"amount":900.0}}'
  local body='{"eventCode":"OnPurchaseConfirm","purchaseOperationInfo":'$info
  printf '{"timestamp":%s,"body":'"$body"',"customerInfo":{"customerId":131}}}\n' "$@"
}
for minutes in 0 60 120 750; do
  purchase $((day + minutes * 60000)) "$minutes"
done >"$work/purchases.jsonl"
"$hailer" run --source "file:$work/purchases.jsonl" --sink "file:$work/policies.jsonl" \
  --rules "$rules" --data "$data" --store "$data/store" \
  --clock events --run-on-minutes 720 2>"$work/log" || { cat "$work/log" >&2; exit 1; }

show "$hailer" why 131 --campaign big-basket --data "$data" --utc

heading "Try it yourself (a rule of your own: README.md, \"A first rule\")"
cat <<END
  $hailer why 131 --data $data
  $hailer policies explain 131 --campaign big-basket --channel push --data $data --rules $rules
  $hailer events Purchase --fields
  $hailer events --generate 1000 |
    $hailer run --rules $rules --data $data
END
