//! `[record]`, `hailer record export` and `hailer replay`: a replay reports what an engine would
//! have done, and the same each time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hailer_tests::site::{Site, campaign, lines};
use serde_json::Value;

/// Generated events in envelopes, with so few customers that they merge, refund and return.
fn generated(site: &Site, count: u32, customers: u32) -> PathBuf {
    let (count, customers) = (count.to_string(), customers.to_string());
    let made =
        ["events", "--generate", &count, "--seed", "7", "--customers", &customers, "--envelope"];
    site.write("events.jsonl", site.command_without_data(&made).expect(0).stdout)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn replay(site: &Site, arguments: &[&str]) -> hailer_tests::site::Outcome {
    // All tests run at once, so the machine cannot measure how long a call takes.
    let patient = ["--set", "limits.call_deadline_ms=2000"];
    site.command(&[&["replay"], arguments, &patient].concat())
}

/// The messages that would be published, by their id.
fn messages(rows: &[Value]) -> BTreeMap<String, Value> {
    let sent =
        rows.iter().flat_map(|row| row["communications"].as_array().cloned().unwrap_or_default());
    let message = |sent: Value| sent["message"].is_object().then(|| sent["message"].clone());
    sent.filter_map(message)
        .map(|message| (message["id"].as_str().unwrap().to_owned(), message))
        .collect()
}

#[test]
fn a_replay_decides_the_same_as_an_engine_on_any_number_of_threads() {
    let site = Site::with_examples();
    let events = generated(&site, 6000, 150);
    let sent = site.path("sent.jsonl");
    let (source, sink) = (format!("file:{}", text(&events)), format!("file:{}", text(&sent)));
    let clock =
        ["--clock", "events", "--run-on-minutes", "86400", "--source", &source, "--sink", &sink];
    let _ = site.run(&clock).expect(0);
    let by_engine: BTreeMap<String, Value> = lines(&sent)
        .into_iter()
        .map(|line| (line["id"].as_str().unwrap().to_owned(), line))
        .collect();
    assert!(by_engine.len() > 1000, "{}", by_engine.len());
    let timers = by_engine.values().filter(|line| line["cause"]["timer"].is_string()).count();
    assert!(timers > 2, "{timers}");

    let rules = site.rules();
    let mut written: Vec<(Vec<u8>, Value)> = Vec::new();
    for threads in ["1", "2", "3", "2"] {
        let out = site.path("decisions.jsonl");
        let arguments = [
            text(&events),
            "--rules",
            text(&rules),
            "--run-on",
            "60d",
            "--threads",
            threads,
            "--out",
            text(&out),
            "--json",
        ];
        let report = replay(&site, &arguments).expect(0).json();
        written.push((std::fs::read(&out).unwrap(), report));
    }
    assert!(written.iter().all(|one| *one == written[0]), "a run has written other bytes");
    let rows = lines(&site.path("decisions.jsonl"));
    let by_replay = messages(&rows);
    let differing = by_engine.iter().find(|(id, line)| by_replay.get(*id) != Some(line));
    assert_eq!((differing, by_replay.len()), (None, by_engine.len()));
    let at = |row: &Value| row["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(rows.is_sorted_by_key(at), "rows are ordered by time");

    let report = &written[0].1;
    for campaign in report["campaigns"].as_array().unwrap() {
        let name = campaign["campaign"].as_str().unwrap();
        let of_it = |line: &&Value| line["campaign"] == name;
        let published: u64 = campaign["publishes"]
            .as_object()
            .unwrap()
            .values()
            .map(|count| count.as_u64().unwrap())
            .sum();
        assert_eq!(published as usize, by_engine.values().filter(of_it).count(), "{name}");
        let to: BTreeSet<String> = rows
            .iter()
            .filter(|row| of_it(row) && !messages(std::slice::from_ref(row)).is_empty())
            .map(|row| row["customer"].to_string())
            .collect();
        assert_eq!(campaign["customers"], to.len(), "{name}");
        assert_eq!(campaign["seen"], rows.iter().filter(of_it).count(), "{name}");
    }
}

#[test]
fn since_and_until_leave_out_events_outside_their_range() {
    let site = Site::with_basket();
    let events = generated(&site, 2000, 100);
    let at = |line: &Value| line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let moments: Vec<jiff::Timestamp> = lines(&events).iter().map(at).collect();
    let (since, until) = (moments[500], moments[1499]);
    let meant = moments.iter().filter(|at| (since..until).contains(at)).count();
    assert!((900..=1000).contains(&meant), "{meant}");
    let (rules, since, until) = (site.rules(), since.to_string(), until.to_string());
    let of = |arguments: &[&str]| {
        replay(&site, &[&[text(&events), "--rules", text(&rules)], arguments].concat())
    };
    let report = of(&["--since", &since, "--until", &until, "--json"]).expect(0).json();
    assert_eq!((&report["events"], &report["leftOut"]), (&meant.into(), &(2000 - meant).into()));
    assert_eq!(report["from"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap(), moments[500]);
    let shown = of(&["--since", &since, "--until", &until]).expect(0).stdout;
    assert!(
        shown.contains(&format!("{} left out by --since and --until", 2000 - meant)),
        "{shown}"
    );
    let refused = of(&["--since", &until, "--until", &since]).expect(2);
    assert!(refused.stderr.contains("is not before --until"), "{}", refused.stderr);
}

#[test]
fn a_comparison_of_thresholds_lists_exactly_the_customers_between_them() {
    let site = Site::empty();
    let events = generated(&site, 3000, 400);
    let module = hailer_tests::built::example_module("big-basket");
    let rules = |name: &str, threshold: u32| {
        let directory = site.path(name);
        std::fs::create_dir_all(directory.join("modules")).unwrap();
        std::fs::write(directory.join("modules/big-basket.wasm"), &module).unwrap();
        let toml = campaign("big-basket", &format!("[params]\nthreshold = \"{threshold}.00\""));
        std::fs::write(directory.join("big-basket.toml"), toml).unwrap();
        directory
    };
    let (low, high) = (rules("low", 300), rules("high", 500));
    let arguments = [text(&events), "--rules", text(&low), "--diff", text(&high), "--json"];
    let report = replay(&site, &arguments).expect(0).json();

    // The customers with a purchase between the two thresholds, in the order of the first such
    // purchase, computed from the events alone. A merged customer continues as the other one, and
    // is listed by the id that remained at the first such purchase.
    let mut merged: BTreeMap<u64, u64> = BTreeMap::new();
    let mut expected: Vec<(u64, String, u64)> = Vec::new();
    for line in lines(&events) {
        let body = &line["body"];
        if body["eventCode"] == "MergeCustomersProfiles" {
            let id = |who: &str| body[who]["customerId"].as_u64().unwrap();
            let (from, to) = (id("fromCustomerInfo"), id("toCustomerInfo"));
            merged.remove(&to);
            merged.insert(from, to);
            continue;
        }
        let operation = &body["purchaseOperationInfo"]["purchaseData"];
        if body["eventCode"] != "OnPurchaseConfirm" || operation["isRefund"] == true {
            continue;
        }
        let amount = operation["amount"].as_f64().unwrap();
        if (300.0..500.0).contains(&amount) {
            let mut customer = body["customerInfo"]["customerId"].as_u64().unwrap();
            while let Some(other) = merged.get(&customer) {
                customer = *other;
            }
            match expected.iter_mut().find(|(known, ..)| *known == customer) {
                Some((.., count)) => *count += 1,
                None => expected.push((customer, customer.to_string(), 1)),
            }
        }
    }
    assert!(expected.len() > 20 && !merged.is_empty(), "{}", expected.len());
    let changes = &report["changes"];
    assert_eq!(changes["count"], expected.iter().map(|(.., count)| count).sum::<u64>());
    let listed: Vec<(String, u64)> = changes["customers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["customer"].as_str().unwrap().to_owned(), one["count"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        listed,
        expected.into_iter().map(|(_, named, count)| (named, count)).collect::<Vec<_>>()
    );
    for change in changes["customers"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|one| one["changes"].as_array().unwrap())
    {
        let (before, after) =
            (change["before"].as_str().unwrap(), change["after"].as_str().unwrap());
        assert!(
            before.starts_with("sends push `big-basket` with {") && before.contains("thanked"),
            "{before}"
        );
        assert!(after.starts_with("sends nothing, “not sent: below the threshold”"), "{after}");
        assert!(
            change["cause"]["event"]["place"].as_str().unwrap().starts_with(text(&events)),
            "{change}"
        );
    }
    let same =
        replay(&site, &[text(&events), "--rules", text(&low), "--diff", text(&low)]).expect(0);
    assert!(same.stdout.contains("no result changes"), "{}", same.stdout);
}

#[test]
fn a_recording_and_its_pseudonymised_export_replay_the_same() {
    let site = Site::with_examples();
    let events = generated(&site, 2000, 100);
    let (recording, sent) = (site.path("recording"), site.path("sent.jsonl"));
    let (source, sink) = (format!("file:{}", text(&events)), format!("file:{}", text(&sent)));
    let record = format!("record.dir={}", text(&recording));
    let run = ["--clock", "events", "--source", &source, "--sink", &sink, "--set", &record];
    let _ = site.run(&run).expect(0);
    let by_engine: BTreeMap<String, Value> = lines(&sent)
        .into_iter()
        .map(|line| (line["id"].as_str().unwrap().to_owned(), line))
        .collect();

    let (rules, out) = (site.rules(), site.path("decisions.jsonl"));
    let decide = |input: &Path| {
        let arguments = [text(input), "--rules", text(&rules), "--out", text(&out), "--json"];
        let report = replay(&site, &arguments).expect(0).json();
        (report, lines(&out))
    };
    let (report, rows) = decide(&recording);
    assert_eq!((messages(&rows), &report["events"]), (by_engine, &Value::from(2000)));

    let key = site.path("replay.key");
    let safe = site.path("safe.jsonl.zst");
    let export = [
        "record",
        "export",
        text(&recording),
        "--pseudonymise",
        "--new-key",
        text(&key),
        "--out",
        text(&safe),
    ];
    let _ = site.command(&export).expect(0);
    let (safe_report, safe_rows) = decide(&safe);
    // One example rule reads the new value of a customer's attribute. Nothing else depends on
    // personal data.
    let counts = |report: &Value| -> Vec<Value> {
        let campaigns = report["campaigns"].as_array().unwrap().iter();
        campaigns
            .map(|campaign| {
                Value::from(vec![
                    campaign["campaign"].clone(),
                    campaign["seen"].clone(),
                    campaign["publishes"].clone(),
                    campaign["suppressed"].clone(),
                    campaign["customers"].clone(),
                    campaign["failures"].clone(),
                ])
            })
            .collect()
    };
    assert_eq!(counts(&safe_report), counts(&report));
    assert_eq!(safe_rows.len(), rows.len());
    for (one, other) in rows.iter().zip(&safe_rows) {
        let decided = |row: &Value| {
            [
                &row["at"],
                &row["campaign"],
                &row["decision"],
                &row["scheduled"],
                &row["stateChanged"],
            ]
            .map(Value::clone)
        };
        assert_eq!(decided(one), decided(other));
    }

    // No id, card or phone number is left, and the same key gives the same bytes.
    let plain = |arguments: &[&str]| {
        site.command(&[&["record", "export", text(&recording)], arguments].concat())
            .expect(0)
            .stdout
    };
    let text_of = plain(&["--pseudonymise", "--key", text(&key)]);
    let ids = |text: &str| -> BTreeSet<String> {
        let bodies =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["body"].clone());
        let texts = bodies.flat_map(|body| {
            [
                "/customerInfo/customerUid",
                "/customerInfo/customerCode",
                "/cardNumber",
                "/newValue",
                "/oldValue",
            ]
            .map(|path| body.pointer(path).filter(|value| !value.is_null()).map(Value::to_string))
        });
        texts.flatten().filter(|text| text.len() > 5).collect()
    };
    let (before, after) = (ids(&plain(&[])), ids(&text_of));
    assert_eq!(before.len(), after.len(), "each customer keeps one pseudonym");
    assert!(before.len() > 100 && before.is_disjoint(&after));
    assert_eq!(text_of, plain(&["--pseudonymise", "--key", text(&key)]));
    let purchases = plain(&["--codes", "OnPurchaseConfirm"]);
    assert!(
        purchases.lines().count() > 100
            && purchases.lines().all(|line| line.contains("OnPurchaseConfirm"))
    );
    let without_key =
        site.command(&["record", "export", text(&recording), "--pseudonymise"]).expect(2);
    assert!(without_key.stderr.contains("--new-key FILE"), "{}", without_key.stderr);
}

#[test]
fn an_unreadable_line_is_reported_and_the_rest_is_decided() {
    let site = Site::with_basket();
    let purchase = "{\"eventCode\":\"OnPurchaseConfirm\",\"customerInfo\":{\"customerId\":1},\
         \"purchaseOperationInfo\":{\"dateTime\":\"2026-03-01T08:00:00Z\",\
         \"purchaseData\":{\"amount\":135.0000}}}";
    let events = site.write(
        "events.jsonl",
        format!("{purchase}\n{{\"eventCode\":\n\n{{\"customer\":7001}}\n{purchase}\n"),
    );
    let (rules, place) = (site.rules(), text(&events));
    let told = replay(&site, &[place, "--rules", text(&rules)]).expect(1);
    for part in [
        format!("not read: {place}:2: "),
        format!("not read: {place}:4: "),
        "correct the line".to_owned(),
    ] {
        assert!(told.stderr.contains(&part), "{part}: {}", told.stderr);
    }
    assert!(
        !told.stderr.contains("7001") && told.stdout.contains("2 events"),
        "{}{}",
        told.stderr,
        told.stdout
    );
    assert!(told.stdout.contains("2 push"), "{}", told.stdout);
    let strict = replay(&site, &[place, "--rules", text(&rules), "--strict"]).expect(1);
    assert!(
        strict.stderr.starts_with(&format!("error: {place}:2: ")) && strict.stdout.is_empty(),
        "{}",
        strict.stderr
    );

    let refused = |arguments: &[&str], part: &str| {
        let outcome = replay(&site, arguments).expect(2);
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    };
    refused(&["nowhere.jsonl", "--rules", text(&rules)], "cannot read `nowhere.jsonl`");
    refused(&[place, "--rules", "nowhere"], "name one with --rules");
    refused(
        &[place, "--rules", text(&rules), "--warm-up", "a month"],
        "`--warm-up a month` is not a span of time",
    );
    refused(&[place, "--rules", text(&rules), "--out", place], "write decisions to another file");
    site.write("zip", b"PK\x03\x04");
    refused(&["zip", "--rules", text(&rules)], "a zip archive: unpack it");
    let timeless = site.write("timeless.jsonl", "{\"eventCode\":\"X\"}\n");
    let outcome = replay(&site, &[text(&timeless), "--rules", text(&rules)]).expect(1);
    assert!(outcome.stderr.contains("--start 2026-03-01"), "{}", outcome.stderr);
    let _ = replay(&site, &[text(&timeless), "--rules", text(&rules), "--start", "2026-03-01"])
        .expect(0);
    site.put("broken.toml", "module = \"modules/gone.wasm\"\nmode = \"live\"\n");
    let outcome = replay(&site, &[place, "--rules", text(&rules)]).expect(1);
    assert!(
        outcome.stderr.contains("broken.toml") && outcome.stderr.contains("gone.wasm"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_warm_up_is_not_counted_and_per_hour_max_applies_to_all_threads() {
    let site = Site::empty();
    site.put("modules/big-basket.wasm", hailer_tests::built::example_module("big-basket"));
    site.put(
        "basket.toml",
        campaign("big-basket", "per_hour_max = 3\n[params]\nthreshold = \"0\""),
    );
    let purchase = |minute: usize| {
        format!(
            "{{\"eventCode\":\"OnPurchaseConfirm\",\"customerInfo\":{{\"customerId\":{minute}}},\
             \"purchaseOperationInfo\":{{\"dateTime\":\"2026-03-01T{:02}:{:02}:00Z\",\
             \"purchaseData\":{{\"amount\":135.0000}}}}}}\n",
            8 + minute / 60,
            minute % 60
        )
    };
    let events = site.write("events.jsonl", (0..120).map(purchase).collect::<String>());
    for threads in ["1", "2", "5"] {
        let out = site.path("out.jsonl");
        let rules = site.rules();
        let arguments = [
            text(&events),
            "--rules",
            text(&rules),
            "--warm-up",
            "30m",
            "--threads",
            threads,
            "--out",
            text(&out),
            "--json",
        ];
        let report = replay(&site, &arguments).expect(0).json();
        let campaign = &report["campaigns"][0];
        assert_eq!(
            (&report["warmUp"], &report["events"], &campaign["seen"]),
            (&30.into(), &90.into(), &90.into())
        );
        // The three messages of the first hour were sent during the warm-up.
        assert_eq!(
            (&campaign["publishes"]["push"], &campaign["suppressed"]["per-hour-max"]),
            (&3.into(), &87.into())
        );
        assert_eq!(campaign["suspendedAt"], "2026-03-01T08:03:00Z");
        let sent = messages(&lines(&out));
        let recipients: BTreeSet<&str> =
            sent.values().map(|one| one["recipient"]["customerId"].as_str().unwrap()).collect();
        assert_eq!(recipients, ["60", "61", "62"].into());
    }
}
