//! `hailer erase`, with a running engine and on the store of a stopped one. It removes everything
//! that names or describes the customer, and nothing of other customers.

use std::ops::ControlFlow;

use hailer::store::{FileStore, Opening, Store, Table};
use hailer_tests::wait;
use serde_json::json;

use crate::failures::{bought, line, merged, site, start};

/// Events that give customer 1 a state, a timer, a failure and held events, and that involve
/// customer 2.
fn history() -> String {
    let begin = |customer: u32| {
        let customer_info = json!({ "customerId": customer });
        let body = json!({ "eventCode": "OnBeginRegistration", "customerInfo": customer_info });
        line(&format!("began-{customer}"), &body)
    };
    [bought(3, 1), bought(4, 2), begin(1), begin(2), bought(5, 1), bought(6, 1), bought(10, 2)]
        .concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_running_engine_erases_one_customer_and_keeps_the_others() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write(history());
    let listed = |customer: &str| {
        let listed = site
            .command(&["failures", "list", "--all", "--customer", customer, "--json"])
            .expect(0);
        listed.json().as_array().unwrap().len()
    };
    wait::until("the failures and the timers behind them are kept", async || {
        listed("1") == 3 && listed("2") == 2
    })
    .await;
    let unsure = site.command(&["erase", "1"]);
    assert!(unsure.code == Some(1) && unsure.stderr.contains("--yes"), "{unsure:?}");
    let erased = site.command(&["erase", "1", "--yes", "--json"]).expect(0).json();
    assert_eq!(erased["foundBy"], "customerId");
    assert_eq!(
        (&erased["states"], &erased["timers"], &erased["failures"]),
        (&json!(1), &json!(1), &json!(3))
    );
    assert_eq!(erased["decisions"], 5, "{erased}");
    assert_eq!(site.command(&["why", "1"]).expect(0).stdout, "no event seen\n");
    assert_eq!((listed("1"), listed("2")), (0, 2));
    assert!(site.command(&["why", "2"]).expect(0).stdout.contains("OnPurchaseConfirm"));
    let again = site.command(&["erase", "1", "--yes"]);
    assert!(again.code == Some(1) && again.stderr.contains("no event seen"), "{again:?}");
    engine.write(bought(7, 1));
    let printed = engine.prints(3).await;
    assert_eq!(
        printed[2]["data"],
        json!({ "number": 7, "count": 1, "chain": 7 }),
        "the customer is new"
    );
    engine.stop().await;
    let store = site.path("store").display().to_string();
    let _ = site.command(&["store", "verify", "--store", &store]).expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn erasing_from_the_store_of_a_stopped_engine_does_the_same() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write(history());
    wait::until("all is decided", async || {
        let listed = site.command(&["failures", "list", "--all", "--json"]).expect(0);
        listed.json().as_array().unwrap().len() == 5
    })
    .await;
    engine.stop().await;
    let store = site.path("store").display().to_string();
    let erased = site.command(&["erase", "1", "--yes", "--store", &store]).expect(0);
    assert!(
        erased
            .stdout
            .contains("states 1, timers 1, failures 3, events and timers in the journal 5"),
        "{erased:?}"
    );
    assert!(erased.stderr.contains("backups of the store"), "{erased:?}");
    assert_eq!(site.command(&["why", "1", "--store", &store]).expect(0).stdout, "no event seen\n");
    let _ = site.command(&["store", "verify", "--store", &store]).expect(0);
    let mut engine = start(&site, &[]).await;
    engine.write(bought(7, 1));
    let printed = engine.prints(1).await;
    assert_eq!(printed[0]["data"], json!({ "number": 7, "count": 1, "chain": 7 }));
    assert_eq!(
        site.command(&["failures", "list", "--all", "--json"])
            .expect(0)
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

/// The redirects contain the ids of the remaining customer, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn erasing_a_customer_removes_its_ids_from_redirects() {
    const NAMED: &str = "70000002";
    const IDS: &str = "7000000";
    let site = site("");
    let mut engine = start(&site, &[]).await;
    let merged = |from: &str, to: &str| {
        let customer = |id: &str| json!({ "customerId": id });
        let (from_info, to_info) = (customer(from), customer(to));
        let body = json!({
            "eventCode": "MergeCustomersProfiles",
            "fromCustomerInfo": from_info, "toCustomerInfo": to_info,
        });
        line(&format!("merged-{from}-{to}"), &body)
    };
    engine.write(
        [bought(3, 1), merged("1", "70000001"), merged("70000001", NAMED), bought(4, 1)].concat(),
    );
    let printed = engine.prints(2).await;
    assert_eq!(printed[1]["recipient"]["customerId"], NAMED);
    engine.stop().await;
    let directory = site.path("store");
    let found = || {
        let store = FileStore::open(&directory, Opening::of("local"))
            .expect("the store of a stopped engine");
        let snapshot = store.snapshot().expect("a view");
        let mut found = 0;
        for table in [Table::Redirects, Table::Customers, Table::Timers, Table::Failures] {
            let shown = snapshot.range(table, &[0], &[u8::MAX], &mut |_, value| {
                found += usize::from(value.windows(IDS.len()).any(|bytes| bytes == IDS.as_bytes()));
                ControlFlow::Continue(())
            });
            shown.expect("rows that can be read");
        }
        found
    };
    assert_eq!(found(), 2, "each redirect names the remaining customer");
    let store = directory.display().to_string();
    let _ = site.command(&["erase", NAMED, "--yes", "--store", &store]).expect(0);
    assert_eq!(found(), 0);
}

/// The id of a merged customer means the customer who remains.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_id_of_a_merged_customer_erases_the_one_that_remains() {
    let site = site("");
    let store = site.path("store").display().to_string();
    for (from, to, other, erased) in [(1, 2, 3, 1), (11, 12, 13, 12)] {
        let mut engine = start(&site, &[]).await;
        let purchases = [from, to, other].map(|customer| bought(10 * customer + 1, customer));
        let [first, second, third] = &purchases;
        engine.write([first, &merged(from, to), second, third].map(String::as_str).concat());
        engine.prints(3).await;
        engine.stop().await;
        let erase = |id: u32| {
            site.command(&["erase", &id.to_string(), "--yes", "--store", &store]).expect(0).stdout
        };
        let said = erase(erased);
        let expected =
            format!("erased customer {erased}, known by customerId and 1 merged customers: ");
        assert!(
            said.starts_with(&expected) && said.contains("events and timers in the journal 3"),
            "{said}"
        );
        for id in [from, to] {
            let story = site.command(&["why", &id.to_string(), "--store", &store]).expect(0).stdout;
            assert_eq!(story, "no event seen\n");
        }
        let said = erase(other);
        assert!(
            said.starts_with(&format!("erased customer {other}, known by customerId: states 1")),
            "{said}"
        );
    }
}
