//! Whose message is sent: priorities, control groups, transactional campaigns, and ids.

use super::*;
use hailer_engine::Mode;

#[test]
fn of_two_campaigns_that_may_not_both_speak_the_next_speaks_if_the_first_is_capped() {
    let text = "[per_event]\ncampaigns_max = 1\n\
                [[cap]]\nname = \"a-once\"\nmax = 1\nper = \"7d\"\ncampaigns = [\"a\"]\n\
                [campaigns.a]\npriority = 10\n[campaigns.b]\npriority = 10";
    let noon = at("2026-03-02T12:00:00+03:00");
    let events = [purchase(1, 1, noon), purchase(2, 1, noon + 1)];
    let decided = under(policies(text), &["a", "b"], vec![send("x")]).decide(events, 0).unwrap();
    assert_eq!(verdicts(&decided), ["a: passed", "b: event-max", "a: cap a-once", "b: passed"]);
}

#[test]
fn a_suppressed_message_keeps_its_place_so_that_ids_do_not_depend_on_policies() {
    let actions = || vec![send_on(Channel::Sms, "x"), send_on(Channel::Push, "y")];
    let night = "[[quiet_hours]]\nname = \"night\"\nfrom = \"22:00\"\nto = \"09:00\"\n\
                 channels = [\"sms\"]\nthen = \"drop\"";
    let now = moscow("02T23:30:00");
    let events = || (1..20).map(|number| purchase(number, 1, now + number as Millis));
    let free = under(policies(""), &["a"], actions()).decide(events(), 0).unwrap();
    let held = under(policies(night), &["a"], actions()).decide(events(), 0).unwrap();
    assert_eq!(verdicts(&held[..1]), ["a: quiet-hours night", "a: passed"]);
    let (sms, push): (Vec<_>, Vec<_>) =
        ids(&free).into_iter().enumerate().partition(|(place, _)| place % 2 == 0);
    let of = |some: Vec<(usize, String)>| some.into_iter().map(|(_, id)| id).collect::<Vec<_>>();
    let (sms, push) = (of(sms), of(push));
    assert_eq!(ids(&held), push);
    assert!(held.iter().all(|decision| first_proposals(decision)[0].id.is_empty()));
    assert!(ids(&held).iter().all(|id| !sms.contains(id)), "no other message gets its id");
}

/// The customers whom a control group keeps from a message of `campaign`.
fn members(group: &str, salt: &str, percent: u32, campaign: &str) -> Vec<u64> {
    let text = format!("[control.{group}]\npercent = {percent}\nsalt = \"{salt}\"");
    let noon = moscow("02T12:00:00");
    let events = (1..=CUSTOMERS).map(|customer| purchase(customer, customer, noon));
    let decided = under(policies(&text), &[campaign], vec![send("x")]).decide(events, 0).unwrap();
    let expected = format!("{campaign}: control {group}");
    let verdicts = verdicts(&decided).into_iter().zip(1..);
    verdicts.filter(|(verdict, _)| *verdict == expected).map(|(_, customer)| customer).collect()
}

#[test]
fn a_control_group_that_grows_or_is_renamed_keeps_its_members_and_another_salt_has_others() {
    let before = members("holdout", "2026", 5, "a");
    let after = members("renamed", "2026", 10, "b");
    assert!((15..40).contains(&before.len()), "{}", before.len());
    assert!((35..70).contains(&after.len()), "{}", after.len());
    assert!(before.iter().all(|member| after.contains(member)));
    let others = members("holdout", "2027", 5, "a");
    assert!(others.iter().filter(|member| before.contains(member)).count() < 10);
}

#[test]
fn a_transactional_message_passes_everything_but_shadow_mode_and_the_hourly_limit() {
    let text = format!(
        "{NIGHT}{DAY_ONCE}{}[control.holdout]\npercent = 99.99\nsalt = \"2026\"\n\
         campaigns = [\"promo\"]\n[campaigns.card-security]\nkind = \"transactional\"\n\
         [campaigns.once]\npriority = -1",
        consent_section(&[])
    );
    let run = |change: fn(&mut CampaignSpec)| {
        let names = ["once", "promo"].map(|name| campaign(name, vec![send("x")]));
        let alarm = campaign_with("card-security", vec![send("x")], change);
        let mut dry_run = under_rules(policies(&text), names.into_iter().chain([alarm]).collect());
        let events = [
            purchase(1, 1, moscow("02T12:00:00")),
            purchase(2, 1, moscow("02T12:01:00")),
            purchase(3, 1, moscow("03T03:00:00")),
            consent(4, 1, "push", "Disabled", moscow("03T03:01:00")),
            purchase(5, 1, moscow("03T03:02:00")),
        ];
        verdicts(&dry_run.decide(events, 0).unwrap())
    };
    let of = |all: &[String], name: &str| -> Vec<String> {
        let own = all.iter().filter_map(|one| one.strip_prefix(&format!("{name}: ")));
        own.map(str::to_owned).collect()
    };
    let live = run(|_| {});
    assert_eq!(of(&live, "card-security"), ["passed"; 4]);
    assert_eq!(
        of(&live, "promo"),
        ["control holdout", "control holdout", "control holdout", "consent-off"]
    );
    // What is transactional does not count: the first message of another campaign passes.
    let once = ["passed", "cap day", "until 2026-03-03T06:00:00Z night", "consent-off"];
    assert_eq!(of(&live, "once"), once);
    let shadow = run(|spec| spec.mode = Mode::Shadow);
    assert_eq!(of(&shadow, "card-security"), ["shadow"; 4]);
    let limited = run(|spec| spec.per_hour_max = Some(1));
    let limited = of(&limited, "card-security");
    assert_eq!(limited, ["passed", "per-hour-max", "passed", "per-hour-max"]);
}
