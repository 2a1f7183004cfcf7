//! The operator's pages (docs/operations.md and docs/operations/) list exactly the metrics with
//! their labels, the settings and the commands that exist. Also: warnings before something goes
//! wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hailer_tests::built::checkout;
use hailer_tests::site::{Site, campaign};
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;
use lapin::protocol::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use crate::failures;
use crate::support::shared_broker;

/// The text of all operator's pages. Shell lines that a backslash continues are joined.
fn page() -> String {
    let directory = checkout().join("docs/operations");
    let mut pages: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    pages.insert(0, directory.with_extension("md"));
    let text: String =
        pages.iter().map(|page| std::fs::read_to_string(page).unwrap() + "\n").collect();
    text.replace(" \\\n  ", " ")
}

/// The cells of the table rows of a section, without the table heads.
fn rows(section: &str) -> Vec<Vec<String>> {
    let page = page();
    let text =
        page.split("\n## ").find(|text| text.starts_with(&format!("{section}\n"))).expect(section);
    let is_row = |line: &&str| line.starts_with("| `");
    text.lines()
        .filter(is_row)
        .map(|line| line.split('|').skip(1).map(str::to_owned).collect())
        .collect()
}

/// The texts in backticks, each with the text up to the next one.
fn quoted(cell: &str) -> Vec<(String, String)> {
    let parts: Vec<&str> = cell.split('`').collect();
    parts[1..]
        .chunks(2)
        .map(|pair| (pair[0].to_owned(), pair.get(1).copied().unwrap_or_default().to_owned()))
        .collect()
}

/// The labels, each with its listed values.
fn labels(cell: &str) -> BTreeMap<String, Vec<String>> {
    // The text in brackets explains a value.
    let mut plain = String::new();
    let mut depth = 0;
    for letter in cell.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 => plain.push(letter),
            _ => {}
        }
    }
    let mut labels: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut last: Option<String> = None;
    for (word, behind) in quoted(&plain) {
        match &last {
            Some(label) if !behind.starts_with(':') => {
                labels.entry(label.clone()).or_default().push(word)
            }
            _ => {
                let _ = labels.entry(word.clone()).or_default();
                last = behind.starts_with(':').then_some(word);
            }
        }
    }
    labels
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_documented_metrics_with_their_labels_are_exactly_those_after_a_start() {
    let site = Site::with_basket();
    let store = site.path("store").display().to_string();
    let recording = format!("record.dir={}", site.path("recording").display());
    let engine =
        site.start(&["--source", "-", "--sink", "-", "--store", &store, "--set", &recording]);
    engine.ready().await;
    let scrape = engine.metrics().await;
    let mut documented = BTreeSet::new();
    for row in rows("Metrics") {
        let name = quoted(&row[0])[0].0.clone();
        let samples: Vec<&str> = scrape
            .lines()
            .filter(|line| {
                let rest = line.strip_prefix(&name);
                rest.is_some_and(|rest| {
                    rest.starts_with(['{', ' ']) || rest.starts_with("_bucket{")
                })
            })
            .collect();
        assert!(!samples.is_empty(), "{name} is missing right after the start:\n{scrape}");
        assert!(scrape.contains(&format!("# HELP {name} ")), "{name} has no description");
        for (label, values) in labels(&row[1]) {
            let has = |what: &str| samples.iter().any(|sample| sample.contains(what));
            assert!(has(&format!("{label}=\"")), "{name} has no label {label}: {samples:?}");
            for value in values {
                assert!(
                    has(&format!("{label}=\"{value}\"")),
                    "{name} has no {label}=\"{value}\": {samples:?}"
                );
            }
        }
        documented.insert(name);
    }
    for line in scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(documented.contains(name), "{name} is not in docs/operations/metrics.md");
    }
    assert!(
        scrape.contains("hailer_outbox_seconds_bucket{le=\"3600\"}"),
        "an outage of an hour has a bucket: {scrape}"
    );
    assert!(engine.metric("process_resident_memory_bytes").await > 0.0);
    assert!(engine.metric("hailer_store_bytes").await > 0.0);
    assert!(engine.metric("process_start_time_seconds").await > 1.7e9);
}

#[test]
fn the_documented_settings_are_exactly_the_existing_ones() {
    let shown = Site::empty().command_without_data(&["config", "show", "--json"]).expect(0).json();
    let settings: BTreeSet<String> = shown
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["setting"].as_str().unwrap().to_owned())
        .collect();
    let documented: BTreeSet<String> = rows("Configuration")
        .iter()
        .flat_map(|row| quoted(&row[0]))
        .map(|(setting, _)| setting)
        .collect();
    assert_eq!(settings, documented);
}

#[test]
fn the_documented_commands_are_exactly_the_existing_ones() {
    let help = Site::empty().command_without_data(&["--help"]).expect(0).stdout;
    let list = help.split("Commands:\n").nth(1).expect("a list of commands");
    let commands = list.lines().take_while(|line| !line.is_empty());
    let names = commands
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty());
    let commands: BTreeSet<String> =
        names.filter(|name| *name != "help").map(str::to_owned).collect();
    let mut documented = BTreeSet::new();
    for row in rows("Commands") {
        for (words, _) in quoted(&row[0]) {
            let first = words.trim_start_matches("hailer ").split(' ').next().unwrap_or_default();
            if commands.contains(first) || words.starts_with("hailer ") {
                documented.insert(first.to_owned());
            }
        }
    }
    assert_eq!(commands, documented);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_engine_and_doctor_report_a_disk_with_little_space() {
    let site = Site::with_basket();
    let store = site.path("store").display().to_string();
    let all_of_it = format!("store.free_bytes_min={}", 1_u64 << 50);
    let settings = ["--store", &store, "--set", &all_of_it];
    let engine = site.start(&[&["--source", "-", "--sink", "-"], &settings[..]].concat());
    engine.ready().await;
    assert!(engine.metric("hailer_free_bytes{directory=\"store\"}").await > 0.0);
    wait::until("the engine logs it", async || engine.stderr().contains("store.free_bytes_min"))
        .await;
    let problems = site.command(&["doctor", "--set", &all_of_it, "--json"]).expect(1).json();
    let told = problems.as_array().unwrap().iter().filter(|finding| {
        let says = |member: &str| {
            finding[member].as_str().is_some_and(|text| text.contains("store.free_bytes_min"))
        };
        says("nextStep")
            || says("detail")
            || finding["nextStep"].as_str().is_some_and(|text| text.contains("disk"))
    });
    assert!(told.count() >= 2, "one finding about the machine, one about the engine: {problems}");
}

#[test]
fn the_engine_and_doctor_report_a_secret_that_every_user_can_read() {
    let site = Site::with_basket();
    let password = site.write("password", "secret\n");
    let set_mode = |mode: u32| {
        std::fs::set_permissions(&password, std::fs::Permissions::from_mode(mode)).unwrap()
    };
    let setting = format!("rabbitmq.password_file={}", password.display());
    for (mode, is_told) in [(0o644, true), (0o640, false)] {
        set_mode(mode);
        let run = site.run(&["--source", "-", "--sink", "-", "--set", &setting]).expect(0);
        assert_eq!(
            run.stderr.contains("other users can read a secret"),
            is_told,
            "{mode:o}: {}",
            run.stderr
        );
        let doctor = site.command(&["doctor", "--set", &setting]);
        assert_eq!(
            doctor.stdout.contains("PROBLEM  secret rabbitmq.password_file"),
            is_told,
            "{doctor:?}"
        );
        assert!(!doctor.stdout.contains("secret\n"), "the output never contains the secret");
    }
    // In a client's identity only the key is secret.
    let identity = ["cert", "key"].map(|part| {
        let path = site.write(&format!("{part}.pem"), "-----BEGIN NOTHING-----\n");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        format!("rabbitmq.{part}_file={}", path.display())
    });
    let doctor = site.command(&["doctor", "--set", &identity[0], "--set", &identity[1]]);
    let secrets: Vec<&str> =
        doctor.stdout.lines().filter(|line| line.starts_with("PROBLEM  secret ")).collect();
    assert!(secrets.len() == 1 && secrets[0].contains("rabbitmq.key_file"), "{doctor:?}");
    // The configuration itself may contain a password.
    for setting in ["source", "sink"] {
        let file = format!("{setting} = \"amqp://user:hush@127.0.0.1:1/\"\n");
        let file = site.write_config("hailer.toml", file).display().to_string();
        let doctor = site.command(&["doctor", "--config", &file]);
        assert!(doctor.stdout.contains(&format!("PROBLEM  secret {setting}")), "{doctor:?}");
        assert!(!doctor.stdout.contains("hush"), "{doctor:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn after_erase_and_compact_no_file_of_the_store_contains_the_customer() {
    const CUSTOMER: u32 = 904_177_265;
    let site = failures::site("");
    site.put("tally.toml", campaign("tally", "[params]\nfault_every = 5\nwait_seconds = 1000"));
    let mut engine = failures::start(&site, &[]).await;
    // Other customers' events come before, between and after, so that their rows share blocks of
    // tables.
    for number in 0..40 {
        engine.write(failures::bought(5 * number + 5, CUSTOMER));
        let others = (0..20).map(|other| failures::bought(1000 + 20 * number + other, 1 + other));
        engine.write(others.collect::<String>());
        let code = "OnBeginRegistration";
        let body =
            serde_json::json!({ "eventCode": code, "customerInfo": { "customerId": CUSTOMER } });
        engine.write(failures::line(&format!("began-{number}"), &body));
    }
    engine.metric_is("hailer_events_total{outcome=\"decided\"}", 40.0 * 22.0).await;
    engine.stop().await;
    let store = site.path("store");
    let id = CUSTOMER.to_string();
    assert!(found_in(&store, &id) > 0, "the customer's id is in the store before");
    let path = store.display().to_string();
    let erased = site.command(&["erase", &id, "--yes", "--store", &path]).expect(0);
    for named in ["hailer.wal", "store compact", "recording", "backups", "dead letters"] {
        assert!(erased.stderr.contains(named), "{named}: {}", erased.stderr);
    }
    let _ = site.command(&["store", "compact", "--store", &path]).expect(0);
    assert_eq!(found_in(&store, &id), 0);
    let _ = site.command(&["store", "verify", "--store", &path]).expect(0);
    // The cleared WAL is usable again.
    let mut engine = failures::start(&site, &[]).await;
    engine.write(failures::bought(3, 3));
    engine.prints(1).await;
    engine.stop().await;
}

/// The number of occurrences of a text in the files below a directory.
fn found_in(directory: &Path, text: &str) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        found += if path.is_dir() {
            found_in(&path, text)
        } else {
            let bytes = std::fs::read(&path).unwrap();
            bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
        };
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn dead_letters_are_listed_and_put_back_with_body_id_and_headers() {
    let broker = shared_broker();
    let wiring = Wiring::new(broker, "put-back").await;
    let site = Site::with_basket();
    let flags = wiring.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let engine = site.start(&flags);
    engine.ready().await;
    // Two unreadable messages, and one that the broker has dead-lettered, with headers of the
    // producer.
    wiring.send(["{", "[1"]).await;
    let queue = wiring.letters.clone();
    wait::until("two dead letters", async || wiring.client.counts(&queue).await.0 == 2).await;
    engine.stop().await;
    let mut headers = FieldTable::default();
    headers.insert("tenant".into(), AMQPValue::LongString("a".into()));
    headers.insert("x-hailer-message-id".into(), AMQPValue::LongString("m-3".into()));
    headers.insert("x-delivery-count".into(), AMQPValue::LongInt(9));
    let properties = BasicProperties::default()
        .with_headers(headers)
        .with_content_type("application/json".into());
    let confirm = wiring.client.send("", &queue, b"body 3", properties).await;
    assert!(confirm.await.unwrap().is_ack());

    let command = |words: &[&str]| site.command(&[&["dead-letters"], words, &flags[..]].concat());
    let listed = command(&["list", "--json"]).expect(0).json();
    assert_eq!(
        (listed.as_array().unwrap().len(), &listed[2]["messageId"]),
        (3, &"m-3".into()),
        "{listed}"
    );
    assert!(listed[0]["reason"].as_str().unwrap().contains("at "), "{listed}");
    wait::until("all are back in the queue", async || wiring.client.counts(&queue).await.0 == 3)
        .await;

    let only = command(&["put-back", "--reason", "no such reason"]).expect(0).stdout;
    assert_eq!(only, "0 put back, 3 skipped\n");
    wait::until("all are back in the queue", async || wiring.client.counts(&queue).await.0 == 3)
        .await;
    assert_eq!(command(&["put-back", "--limit", "1"]).expect(0).stdout, "1 put back, 0 skipped\n");
    assert_eq!(command(&["put-back"]).expect(0).stdout, "2 put back, 0 skipped\n");
    let back = wiring.client.take_many(&wiring.events, 3).await;
    let bodies: Vec<&[u8]> = back.iter().map(|message| &*message.body).collect();
    assert_eq!(bodies, [&b"{"[..], b"[1", b"body 3"]);
    let third = &back[2];
    assert_eq!(
        third.properties.message_id().as_ref().map(ToString::to_string).as_deref(),
        Some("m-3")
    );
    assert_eq!(third.header("tenant").as_deref(), Some("a"));
    for message in &back {
        let names =
            message.properties.headers().iter().flat_map(|headers| headers.inner().keys().cloned());
        let names: Vec<String> = names.map(|name| name.to_string()).collect();
        assert!(!names.iter().any(|name| name.starts_with("x-")), "{names:?}");
    }

    // Without the queue of events the dead letter cannot be delivered, and stays in its queue.
    wiring.client.publish("", &queue, ["body 4"]).await;
    wiring.client.delete_queue(&wiring.events).await;
    let failed = command(&["put-back"]).expect(1);
    assert!(failed.stderr.contains("it stays in its queue"), "{failed:?}");
    wait::until("it is back in the queue", async || wiring.client.counts(&queue).await.0 == 1)
        .await;
    let of_a_file = site.command(&["dead-letters", "list", "--source", "file:x"]).expect(1);
    assert!(of_a_file.stderr.contains("hailer run --source"), "{of_a_file:?}");
}

#[test]
fn every_metric_label_and_value_in_the_alerts_exists() {
    let text = std::fs::read_to_string(checkout().join("docs/alerts.yml")).unwrap();
    let rows = rows("Metrics");
    let known: BTreeMap<String, BTreeMap<String, Vec<String>>> =
        rows.iter().map(|row| (quoted(&row[0])[0].0.clone(), labels(&row[1]))).collect();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.trim_start().starts_with('#'))
        .collect();
    assert_eq!(lines[..3], ["groups:", "  - name: hailer", "    rules:"]);
    let mut alerts = 0;
    for alert in lines[3..].chunk_by(|_, next| !next.starts_with("      - alert: ")) {
        alerts += 1;
        // All alerts have one form, so this simple parser is enough: a quoted text contains no
        // quote of its kind.
        let [name, expr, rest @ ..] = alert else { panic!("{alert:?}") };
        assert!(
            name.trim_start().strip_prefix("- alert: Hailer").is_some_and(|name| !name.is_empty()),
            "{name}"
        );
        let expr = expr
            .strip_prefix("        expr: '")
            .and_then(|expr| expr.strip_suffix('\''))
            .expect(expr);
        assert!(!expr.contains('\''), "{expr}");
        let rest = match rest {
            [wait, rest @ ..] if wait.starts_with("        for: ") => rest,
            rest => rest,
        };
        let [labels, severity, annotations, summary] = rest else { panic!("{rest:?}") };
        assert_eq!((*labels, *annotations), ("        labels:", "        annotations:"));
        assert!(
            ["          severity: page", "          severity: ticket"].contains(severity),
            "{severity}"
        );
        let summary =
            summary.strip_prefix("          summary: \"").and_then(|text| text.strip_suffix('"'));
        assert!(summary.is_some_and(|text| !text.contains(['"', '\\'])), "{name}");
        for word in expr.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_') {
            if word.starts_with("hailer_") || word.starts_with("process_") {
                assert!(known.contains_key(word), "{name}: {word} is no metric");
            }
        }
        for (selector, _) in expr.match_indices('{') {
            let metric = expr[..selector]
                .rsplit(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            let metric = metric.into_iter().next().unwrap();
            let inside = &expr[selector + 1..selector + expr[selector..].find('}').unwrap()];
            let (label, values) = inside.split_once('=').unwrap();
            if label == "job" {
                continue;
            }
            for value in values.trim_start_matches('~').trim_matches('"').split('|') {
                assert!(
                    known[metric][label].iter().any(|known| known == value),
                    "{name}: {label}={value}"
                );
            }
        }
    }
    assert!(alerts > 10);
    assert!(page().contains("alerts.yml"));
}

#[test]
fn the_broker_accepts_the_documented_policies() {
    let broker = shared_broker();
    let blocks = page();
    let commands: Vec<&str> =
        blocks.lines().filter(|line| line.starts_with("rabbitmqctl set_policy ")).collect();
    assert!(!commands.is_empty());
    for command in commands {
        // Splits the command into words; a text in single quotes is one word.
        let words: Vec<&str> = command
            .split('\'')
            .enumerate()
            .flat_map(
                |(at, part)| {
                    if at % 2 == 1 { vec![part] } else { part.split_whitespace().collect() }
                },
            )
            .collect();
        let _ = broker.ctl(&words[1..]);
        let listed = broker.ctl(&["list_policies", "-p", "/"]);
        assert!(listed.contains(words[4]), "{command}: {listed}");
        let _ = broker.ctl(&["clear_policy", "-p", "/", words[4]]);
    }
}

#[test]
fn the_documented_set_up_script_makes_directories_that_the_engine_accepts() {
    let page = page();
    let section = page.split("\n### User, directories and modes\n").nth(1).expect("the section");
    let script =
        section.split("```sh no_run\n").nth(1).and_then(|rest| rest.split("\n```").next()).unwrap();
    let site = Site::empty();
    let root = site.path("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    // The script runs with the same lines, but below another root and as this user, so that it does
    // not change the machine.
    let root_text = root.display().to_string();
    let mut run = String::from("set -eu\n");
    for line in script.lines() {
        let line = line
            .replace("sudo ", "")
            .replace(" -o root -g hailer", "")
            .replace(" -o hailer -g hailer", "");
        let line = line
            .replace(" /etc/", &format!(" {root_text}/etc/"))
            .replace(" /srv/", &format!(" {root_text}/srv/"));
        let line = line.replace(" /var/", &format!(" {root_text}/var/"));
        if !line.starts_with("useradd")
            && !line.starts_with("usermod")
            && !line.starts_with("systemctl")
        {
            run += &format!("{line}\n");
        }
    }
    site.write("hailer.service", "[Unit]\n");
    site.write("hailer.toml", "");
    site.write("amqp-password", "secret\n");
    let _ = site.shell(&run).expect(0);
    let mode = |path: &str| {
        let found = std::fs::metadata(root.join(path))
            .unwrap_or_else(|error| panic!("{path}: {error}\n{run}"));
        found.permissions().mode() & 0o777
    };
    let modes = [
        ("etc/hailer", 0o750),
        ("etc/hailer/hailer.toml", 0o640),
        ("etc/hailer/amqp-password", 0o640),
    ];
    for (path, expected) in modes {
        assert_eq!(format!("{:o}", mode(path)), format!("{expected:o}"), "{path}");
    }
    assert_eq!((mode("srv/hailer/rules.d") & 0o002, mode("var/lib/hailer")), (0, 0o750));
    let data = root.join("var/lib/hailer").display().to_string();
    let doctor = site.command_without_data(&["doctor", "--data", &data]);
    assert!(
        doctor.stdout.contains(&format!("ok       data {data}: writable and private")),
        "{doctor:?}"
    );
}

#[test]
fn systemd_accepts_the_documented_unit() {
    let page = page();
    let unit = page.split("```ini\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let Some(verify) = ["/usr/bin/systemd-analyze", "/bin/systemd-analyze"]
        .iter()
        .find(|path| Path::new(path).exists())
    else {
        // Without systemd the unit cannot be checked.
        return;
    };
    let site = Site::empty();
    let hailer = hailer_tests::built::hailer().display().to_string();
    let unit =
        unit.replace("/usr/local/bin/hailer", &hailer).replace("User=hailer\nGroup=hailer\n", "");
    let file = site.write("hailer.service", unit).display().to_string();
    let said = site.shell(&format!("{verify} verify --man=no {file} 2>&1"));
    assert_eq!((said.code, said.stdout.trim()), (Some(0), ""), "{said:?}");
}

/// The findings of `hailer check` with the level `problem`.
fn problems_of_check(site: &Site, flags: &[String]) -> Vec<String> {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let rules = site.rules().display().to_string();
    let findings =
        site.command(&[&["check", "--json", "--rules", &rules], &flags[..]].concat()).json();
    let problems =
        findings.as_array().unwrap().iter().filter(|finding| finding["level"] == "problem");
    problems
        .map(|finding| {
            format!("{}: {}; {}", finding["subject"], finding["detail"], finding["nextStep"])
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_check_reports_missing_permissions_and_publishes_nothing() {
    let broker = shared_broker();
    let wiring = Wiring::new(broker, "rights").await;
    let unrouted = format!("{}.unrouted", wiring.exchange);
    wiring.client.exchange(&unrouted, &[]).await;
    wiring.client.queue(&unrouted).await;
    let site = Site::with_basket();
    let _ = broker.ctl(&["add_user", "rights", "secret"]);
    let flags: Vec<String> =
        wiring.flags().iter().map(|flag| flag.replace("guest:guest", "rights:secret")).collect();
    let exchange = wiring.exchange.replace('.', "\\.");
    let queue = wiring.events.replace('.', "\\.");
    let all = format!("^({exchange}|amq\\.default)$");
    for (writes, reads, expected) in [
        (all.as_str(), format!("^{queue}$"), vec![]),
        (all.as_str(), "^$".to_owned(), vec![format!("reading from queue {}", wiring.events)]),
        (
            "^$",
            format!("^{queue}$"),
            vec![
                "publishing to exchange amq.default".to_owned(),
                format!("publishing to exchange {}", wiring.exchange),
            ],
        ),
    ] {
        let _ = broker.ctl(&["set_permissions", "-p", "/", "rights", "^$", writes, &reads]);
        let mut problems = problems_of_check(&site, &flags);
        problems.sort();
        assert_eq!(problems.len(), expected.len(), "{writes} {reads}: {problems:?}");
        for (problem, expected) in problems.iter().zip(&expected) {
            assert!(problem.contains(expected) && problem.contains("ACCESS_REFUSED"), "{problem}");
            assert!(problem.contains("hailer topology --print"), "{problem}");
        }
    }
    assert_eq!(
        (wiring.client.counts(&wiring.out).await.0, wiring.client.counts(&wiring.letters).await.0),
        (0, 0)
    );

    // While the engine runs and consumes the queue.
    let engine = site.start(&wiring.flags());
    engine.ready().await;
    assert_eq!(problems_of_check(&site, &wiring.flags()), [] as [&str; 0]);
    engine.stop().await;

    let stream = format!("{}.stream", wiring.events);
    wiring
        .client
        .queue_with(&stream, &[("x-queue-type", AMQPValue::LongString("stream".into()))])
        .await;
    let flags =
        [wiring.flags(), vec!["--set".to_owned(), format!("rabbitmq.queue={stream}")]].concat();
    let problems = problems_of_check(&site, &flags);
    assert!(problems.len() == 1 && problems[0].contains("is a stream"), "{problems:?}");
    assert!(problems[0].contains("hailer replay"), "{problems:?}");
}
